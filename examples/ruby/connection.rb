# frozen_string_literal: true

require 'grpc'
require 'google/rpc/error_details_pb'
require 'json'
require 'socket'

# A call that cannot succeed, also if it is repeated.
class CallFailed < StandardError; end

# The channel to the servers, the token of each call, and the reasons of errors.
module Connection
  # Plain gRPC does what several servers need. A call goes to a server that its health check calls SERVING, and if
  # that one is gone, a retry goes to the next.
  SERVICE_CONFIG = {
    loadBalancingConfig: [{ round_robin: {} }],
    healthCheckConfig: { serviceName: '' },
    methodConfig: [{
      name: [{ service: 'rollcall.v1.RegistryService' }, { service: 'rollcall.v1.ConfigService' }],
      retryPolicy: {
        maxAttempts: 3, initialBackoff: '0.1s', maxBackoff: '1s', backoffMultiplier: 2,
        retryableStatusCodes: ['UNAVAILABLE']
      }
    }]
  }.freeze

  module_function

  def open
    servers = ENV.fetch('ROLLCALL_SERVERS', 'localhost:7400').split(',')
    options = {
      'grpc.service_config' => JSON.generate(SERVICE_CONFIG),
      # With a list of addresses there is no one host name, so the certificates of all servers are verified
      # against the name of the first.
      'grpc.default_authority' => servers.first,
      # By default, the pause between two attempts to connect grows to two minutes.
      'grpc.max_reconnect_backoff_ms' => 5_000,
      # Notices a connection whose other end is gone without a word.
      'grpc.keepalive_time_ms' => 20_000,
      'grpc.keepalive_timeout_ms' => 10_000
    }
    ca = ENV.fetch('ROLLCALL_CA', nil)
    tls = ca ? GRPC::Core::ChannelCredentials.new(File.read(ca)) : :this_channel_is_insecure
    GRPC::Core::Channel.new(target(servers), options, tls)
  end

  # One server is left to the resolver of gRPC. Its form for several takes IP addresses only.
  def target(servers)
    return "dns:///#{servers.first}" if servers.one?

    addresses = servers.flat_map do |server|
      host, port = server.split(':')
      Addrinfo.getaddrinfo(host, port, :INET, :STREAM).map(&:inspect_sockaddr)
    rescue SocketError => e # the other servers may do
      warn "#{server}: #{e.message}"
      []
    end
    "ipv4:#{addresses.join(',')}"
  end

  # A stub on the channel that all stubs share.
  def stub(service, channel)
    service::Stub.new(nil, nil, channel_override: channel)
  end

  # Reads the file for each call, so a renewed token counts at once.
  def authorization
    path = ENV.fetch('ROLLCALL_TOKEN_FILE', nil)
    path ? { 'authorization' => "Bearer #{File.read(path).strip}" } : {}
  end

  # The reason of docs/reference/errors.md, or "-" for an error that gRPC itself made.
  def reason_of(error)
    detail = error.to_rpc_status&.details&.find { |any| any.is(Google::Rpc::ErrorInfo) }
    detail ? detail.unpack(Google::Rpc::ErrorInfo).reason : '-'
  end

  def describe(method, error)
    code = GRPC::Core::StatusCodes.constants.find { |name| GRPC::Core::StatusCodes.const_get(name) == error.code }
    "#{method} #{code} #{reason_of(error)} #{error.details}"
  end
end
