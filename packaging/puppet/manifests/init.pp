# @summary Installs deployd and describes its apps.
#
# @param package_name
#   The package.
# @param package_ensure
#   As the package is to be: an upgrade disturbs neither a running deployment nor the live services.
# @param package_source
#   A .deb or .rpm on the host, where the package is not in its archives.
# @param apps
#   Apps by their names, each with the parameters of `deployd::app`.
class deployd (
  String[1]                   $package_name   = 'deployd',
  String[1]                   $package_ensure = 'installed',
  Optional[Pattern[/\A\//]]  $package_source = undef,
  Hash[String[1], Hash]       $apps           = {},
) {
  contain deployd::install

  $apps.each |$app, $parameters| {
    deployd::app { $app:
      * => $parameters,
    }
  }
}
