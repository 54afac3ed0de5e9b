# frozen_string_literal: true

require 'json'

# Settings as TOML: plain keys first, then tables and arrays of tables, in the order in which they were given.
Puppet::Functions.create_function(:'deployd::to_toml') do
  # @param settings The settings.
  # @return [String] The document.
  dispatch :dump do
    param 'Hash', :settings
    return_type 'String'
  end

  def dump(settings)
    plain = []
    tables = []
    settings.each do |name, value|
      if value.is_a?(Hash)
        tables << table("[#{key(name)}]", value)
      elsif value.is_a?(Array) && !value.empty? && value.all?(Hash)
        value.each { |one| tables << table("[[#{key(name)}]]", one) }
      else
        plain << pair(name, value)
      end
    end
    ([plain.join] + tables).reject(&:empty?).join("\n")
  end

  def table(head, settings)
    "#{head}\n" + settings.map { |name, value| pair(name, value) }.join
  end

  def pair(name, value)
    "#{key(name)} = #{of(name, value)}\n"
  end

  def key(name)
    name.to_s.match?(/\A[A-Za-z0-9_-]+\z/) ? name.to_s : text(name.to_s)
  end

  # A string of JSON is one of TOML, but for DEL.
  def text(string)
    JSON.generate(string).gsub("\x7f", '\u007f')
  end

  def of(name, value)
    case value
    when true, false, Integer, Float then value.to_s
    when String then text(value)
    when Array then "[#{value.map { |one| of(name, one) }.join(', ')}]"
    when Hash
      value.empty? ? '{}' : "{ #{value.map { |inner, one| "#{key(inner)} = #{of(name, one)}" }.join(', ')} }"
    else
      raise Puppet::Error, "deployd::to_toml: #{name}: TOML has no value for #{value.inspect}; leave the key out"
    end
  end
end
