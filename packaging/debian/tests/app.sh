# What both tests begin with: a user, a repository with two releases, and a description of the app. To be sourced.

# Whatever fails, the journal says why.
trap '[ $? = 0 ] || journalctl --no-pager -n 60 >&2' EXIT

app=autopkgtest
root=/srv/$app
repository=/srv/git/$app.git

as_app() {
    runuser -u "$app" -- "$@"
}

# What the page says must be this; nothing is on the machine that asks but PHP.
answers() {
    said=$(php -r '
        $context = stream_context_create(["http" => ["header" => "Host: '$app'.example.org"]]);
        echo file_get_contents("http://127.0.0.1/", false, $context);')
    if [ "$said" != "$1" ]; then
        echo "the site answers '$said', not '$1'" >&2
        exit 1
    fi
}

commit() {
    as_app sh -euc '
        cd "$1"; printf "<?php\n\necho \"%s\";\n" "$2" > public/index.php; git add -A
        git -c user.name=Test -c user.email=test@example.org commit -q -m "$2"; git push -q origin HEAD:main' sh "/home/$app/tree" "$1"
}

useradd --create-home --shell /bin/sh "$app"
mkdir -p /srv/git "$root"
git init -q --bare -b main "$repository"
chown -R "$app:" "$repository"
as_app git clone -q "$repository" "/home/$app/tree" 2>/dev/null
as_app mkdir "/home/$app/tree/public"
commit first
