#!/bin/sh
# The deployment script that everyone has, in its usual order. It syncs nothing and checks nothing.
# Usage: WHAT ROOT REPOSITORY USER UNIT, where WHAT is laravel, plain or rollback.
set -eu
what=$1 root=$2 repository=$3 user=$4 unit=$5

switch() {
    ln -s "releases/$1" "$root/current.new"
    mv -T "$root/current.new" "$root/current"
    systemctl reload "$unit"
}

if [ "$what" = rollback ]; then
    now=$(basename "$(readlink "$root/current")")
    before=$(ls -1 "$root/releases" | sort | grep -B 1 -x "$now" | head -n 1)
    switch "$before"
    exit
fi

id=$(date -u +%Y%m%d%H%M%S%N)
export id what root repository HOME="/tmp/home-$user"
runuser -u "$user" -- sh -eu -c '
    new=$root/releases/$id
    mkdir -p "$root/releases"
    git clone -q --depth 1 --branch main "$repository" "$new" 2>/dev/null
    cd "$new"
    [ "$what" = laravel ] || exit 0
    [ -d "$root/shared/storage" ] || cp -R storage "$root/shared/storage"
    rm -rf storage
    ln -s "$root/shared/storage" storage
    ln -s "$root/shared/.env" .env
    composer install -q --no-dev --optimize-autoloader --no-interaction
    php artisan storage:link -q
    php artisan config:cache -q
    php artisan route:cache -q
    php artisan view:cache -q
    php artisan event:cache -q
    php artisan migrate -q --force
'
switch "$id"
