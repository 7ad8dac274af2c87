using System.Security.Cryptography.X509Certificates;
using Grpc.Core;
using Grpc.Net.Client;
using Grpc.Net.Client.Balancer;
using Grpc.Net.Client.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Rollcall.V1;

namespace Hello;

/// <summary>One channel that uses all servers.</summary>
public sealed class Connection : IDisposable
{
    private readonly GrpcChannel channel;

    public Connection()
    {
        var servers = Settings.Text("ROLLCALL_SERVERS", "localhost:7400").Split(',').Select(Address).ToArray();
        var ca = Settings.Text("ROLLCALL_CA", "");
        var handler = new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(3) };
        if (ca != "")
        {
            handler.SslOptions.CertificateChainPolicy = Trust(ca);
        }
        channel = GrpcChannel.ForAddress("static:///rollcall", new GrpcChannelOptions
        {
            Credentials = ca == "" ? ChannelCredentials.Insecure : ChannelCredentials.SecureSsl,
            HttpHandler = handler,
            DisposeHttpClient = true,
            // The channel asks this for the addresses behind static:///rollcall.
            ServiceProvider = new ServiceCollection()
                .AddSingleton<ResolverFactory>(new StaticResolverFactory(_ => servers))
                .BuildServiceProvider(),
            ServiceConfig = Several(),
            // Otherwise a server that comes back may wait for a connection for 2 min.
            InitialReconnectBackoff = TimeSpan.FromSeconds(0.5),
            MaxReconnectBackoff = TimeSpan.FromSeconds(3),
        });
        Registry = new RegistryService.RegistryServiceClient(channel);
        Configs = new ConfigService.ConfigServiceClient(channel);
    }

    public RegistryService.RegistryServiceClient Registry { get; }

    public ConfigService.ConfigServiceClient Configs { get; }

    /// <summary>The options of a call that is not a watch: a deadline of 3 s.</summary>
    public static CallOptions Call() => new(headers: Headers(), deadline: DateTime.UtcNow.AddSeconds(3));

    /// <summary>The options of a watch, which has no deadline.</summary>
    public static CallOptions Watch(CancellationToken cancel) => new(headers: Headers(), cancellationToken: cancel);

    public void Dispose() => channel.Dispose();

    // round_robin uses all servers that can be reached. A call that is answered with UNAVAILABLE goes to another one.
    // Grpc.Net.Client has no health check, so this retry alone leaves out a server that cannot acknowledge heartbeats.
    private static ServiceConfig Several() => new()
    {
        LoadBalancingConfigs = { new RoundRobinConfig() },
        MethodConfigs =
        {
            new MethodConfig
            {
                Names = { MethodName.Default },
                RetryPolicy = new RetryPolicy
                {
                    MaxAttempts = 3,
                    InitialBackoff = TimeSpan.FromSeconds(0.1),
                    MaxBackoff = TimeSpan.FromSeconds(1),
                    BackoffMultiplier = 2,
                    RetryableStatusCodes = { StatusCode.Unavailable },
                },
            },
        },
    };

    private static BalancerAddress Address(string server)
    {
        var colon = server.LastIndexOf(':');
        if (colon < 0 || !int.TryParse(server[(colon + 1)..], out var port))
        {
            throw new SettingException($"ROLLCALL_SERVERS: no port in {server}");
        }
        return new BalancerAddress(server[..colon].Trim(), port);
    }

    private static X509ChainPolicy Trust(string file)
    {
        // Without NoCheck, each handshake asks for the revocation of the certificate.
        var policy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
        };
        policy.CustomTrustStore.ImportFromPemFile(file);
        return policy;
    }

    // The file is read for each call, so the token may be renewed.
    private static Metadata Headers()
    {
        var file = Settings.Text("ROLLCALL_TOKEN_FILE", "");
        if (file == "")
        {
            return new Metadata();
        }
        try
        {
            return new Metadata { { "authorization", $"Bearer {File.ReadAllText(file).Trim()}" } };
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, error.Message));
        }
    }
}

/// <summary>A call that cannot succeed. The message has the method, the code, the reason and the text.</summary>
public sealed class CallFailedException(string method, RpcException error)
    : Exception(Describe(method, error), error)
{
    public static string Describe(string method, RpcException error)
    {
        // Errors of the network and of gRPC itself have no ErrorInfo.
        var reason = error.GetRpcStatus()?.GetDetail<Google.Rpc.ErrorInfo>()?.Reason ?? "-";
        return $"{method} {error.StatusCode} {reason} {error.Status.Detail}";
    }
}

public sealed class SettingException(string message) : Exception(message);

public static class Settings
{
    public static string Text(string name, string fallback) =>
        Environment.GetEnvironmentVariable(name) is { Length: > 0 } value ? value : fallback;

    public static int Number(string name, int fallback) =>
        int.TryParse(Text(name, $"{fallback}"), out var number)
            ? number
            : throw new SettingException($"{name} is not a number");
}
