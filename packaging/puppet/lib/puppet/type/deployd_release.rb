# frozen_string_literal: true

Puppet::Type.newtype(:deployd_release) do
  @doc = <<-DOC
    A release of an app of deployd's. Whether something is new is deployd's to say: its plan is asked for, which changes
    nothing, and with --noop is all that is done. When nothing is new nothing is changed.

        deployd_release { 'shop':
          ensure => live,
          ref    => 'v1.4',
        }
  DOC

  newproperty(:ensure) do
    desc 'live: a release of what the source is, is live. staged: it is made, and what is live is left alone.'
    newvalue(:live) { provider.deploy }
    newvalue(:staged) { provider.deploy }
    defaultto :live

    def retrieve
      provider.unchanged? ? should : :behind
    end

    def change_to_s(_is, _should)
      provider.told
    end

    def is_to_s(_is)
      provider.before
    end

    def should_to_s(_should)
      provider.planned
    end
  end

  newparam(:app, namevar: true) do
    desc 'The app, as its file in /etc/deployd/apps is called.'
    validate do |name|
      unless name.length <= 32 && name.match?(/\A[a-z][a-z0-9_]*(-[a-z0-9_]+)*\z/)
        raise ArgumentError, "#{name.inspect} is no name of an app"
      end
    end
  end

  newparam(:ref) do
    desc 'A branch, tag or commit instead of the configured one.'
    validate do |ref|
      raise ArgumentError, 'a ref is a text that does not begin with -' unless ref.is_a?(String) && ref.match?(/\A[^-]/)
    end
  end

  newparam(:allow_destructive, boolean: true, parent: Puppet::Parameter::Boolean) do
    desc 'Run migrations that the live release may not survive.'
    defaultto false
  end

  autorequire(:file) { "/etc/deployd/apps/#{self[:app]}.toml" }
  autorequire(:package) { 'deployd' }
end
