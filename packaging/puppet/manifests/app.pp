# @summary Describes an app to deployd, and has its release live where that is wanted.
#
# @example The shop, whose releases CI or a timer makes
#   deployd::app { 'shop':
#     settings => {
#       'preset'  => 'laravel',
#       'root'    => '/srv/shop',
#       'user'    => 'shop',
#       'source'  => { 'git' => 'git@git.example.org:acme/shop.git', 'ref' => 'main' },
#       'service' => [{ 'kind' => 'php-fpm' }],
#     },
#   }
#
# @param ensure
#   Whether the app shall be there. Without its file what runs goes on running; `deployctl disown` gives the tree back.
# @param settings
#   Its configuration, see deployd.toml(5).
# @param content
#   The same as the file stands, such as a template gives it.
# @param deploy
#   Whether this run shall have a release live too, whenever something is new.
# @param ref
#   A branch, tag or commit instead of the configured one.
define deployd::app (
  Enum['present', 'absent']       $ensure   = 'present',
  Optional[Hash[String[1], Any]]  $settings = undef,
  Optional[String[1]]             $content  = undef,
  Boolean                         $deploy   = false,
  Optional[String[1]]             $ref      = undef,
) {
  if $title !~ /\A[a-z][a-z0-9_]*(-[a-z0-9_]+)*\z/ or $title.length > 32 {
    fail("deployd::app: '${title}' is no name of an app: lower case letters, digits, _ and single - between them, at most 32")
  }
  include deployd

  if $ensure == 'absent' {
    file { "/etc/deployd/apps/${title}.toml":
      ensure => absent,
    }
  } else {
    if ($settings =~ Undef) == ($content =~ Undef) {
      fail("deployd::app: write either settings or content of '${title}'")
    }
    $text = $content ? {
      undef   => deployd::to_toml($settings),
      default => $content,
    }
    file { "/etc/deployd/apps/${title}.toml":
      ensure  => file,
      content => $text,
      owner   => 'root',
      group   => 'root',
      mode    => '0644',
      require => Class['deployd::install'],
    }
    # Does nothing while deployd takes the file, and ends every run with the place and the remedy while it does not.
    exec { "deployctl show ${title}":
      command   => ['deployctl', 'show', $title],
      unless    => [['deployctl', 'show', $title]],
      path      => ['/usr/bin', '/bin'],
      logoutput => on_failure,
      require   => File["/etc/deployd/apps/${title}.toml"],
    }
    if $deploy {
      deployd_release { $title:
        ensure  => live,
        ref     => $ref,
        require => Exec["deployctl show ${title}"],
      }
    }
  }
}
