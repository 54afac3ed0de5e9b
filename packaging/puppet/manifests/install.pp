# @summary The package, before anything that needs it.
#
# @api private
class deployd::install {
  if $deployd::package_source {
    $provider = $deployd::package_source ? {
      /\.rpm\z/ => 'rpm',
      default   => 'dpkg',
    }
    package { $deployd::package_name:
      ensure   => $deployd::package_ensure,
      source   => $deployd::package_source,
      provider => $provider,
    }
  } else {
    package { $deployd::package_name:
      ensure => $deployd::package_ensure,
    }
  }
}
