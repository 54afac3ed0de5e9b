# frozen_string_literal: true

require 'json'
require 'open3'

# Asks deployctl for JSON, never by a shell, and fails with its words and its remedy.
Puppet::Type.type(:deployd_release).provide(:deployctl) do
  desc 'By deployctl --json.'
  commands deployctl: 'deployctl'

  # What is left to be done after an outcome whose message does not say it.
  REMEDIES = {
    'failed' => '`deployctl logs %<app>s --deployment %<id>s` shows all of it',
    'rolled-back' => '`deployctl logs %<app>s --deployment %<id>s` shows all of it',
    'stuck' => '`deployctl status %<app>s` says how to go on',
  }.freeze

  def unchanged?
    plan['decision'] == 'unchanged'
  end

  # The release that is live, as the plan saw it.
  def before
    plan['from'] || 'nothing'
  end

  # What the plan would do, and why.
  def planned
    return plan['message'] if unchanged?

    "#{plan['release']} (#{plan['reasons'].join(', ')})"
  end

  # What a run says that something was done.
  def told
    @ended ? @ended['message'] : "#{kind} #{planned}"
  end

  def deploy
    @ended = ask(kind, resource[:app], *options)
  end

  private

  def plan
    @plan ||= ask('plan', resource[:app], '--kind', kind, *options)
  end

  def kind
    resource[:ensure].to_s == 'staged' ? 'stage' : 'deploy'
  end

  def options
    more = []
    more += ['--ref', resource[:ref]] if resource[:ref]
    more << '--allow-destructive' if resource[:allow_destructive] && kind == 'deploy'
    more
  end

  def ask(*arguments)
    out, err, status = Open3.capture3(command(:deployctl), '--json', *arguments, stdin_data: '')
    value = parse(out)
    return value if status.success? && value

    raise Puppet::Error, sentence(value, err, status)
  end

  def parse(text)
    JSON.parse(text)
  rescue JSON::ParserError
    nil
  end

  def sentence(value, err, status)
    if value.is_a?(Hash) && value['outcome']
      remedy = format(REMEDIES.fetch(value['outcome'], ''), app: value['app'], id: value['id'])
      return join("#{value['app']}: #{value['outcome']}: #{value['message']}", remedy)
    end
    return join(value['reason'], value['remedy']) if value.is_a?(Hash) && value['decision'] == 'rejected'

    said = err.strip.delete_prefix('deployctl: ')
    said.empty? ? "deployctl ended with status #{status.exitstatus} and said nothing" : join(*said.split("\n\n", 2))
  end

  def join(*parts)
    parts.compact.reject(&:empty?).join('; ')
  end
end
