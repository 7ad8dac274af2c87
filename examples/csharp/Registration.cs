using Grpc.Core;
using Rollcall.V1;

namespace Hello;

/// <summary>The loop that keeps an instance registered: Register, heartbeats, Deregister.</summary>
public sealed class Registration(Connection connection, Instance me)
{
    // Drawn once per run: a newer process with this id has another one, and the server then rejects this process.
    private readonly string incarnation = Guid.NewGuid().ToString();

    private TimeSpan interval = TimeSpan.FromSeconds(5);

    /// <summary>Keeps the instance registered until the drain after the signal is over, and deregisters it.</summary>
    public async Task KeepAsync(Task signal, TimeSpan drain)
    {
        bool registered = false, ever = false, draining = false;
        var failures = 0;
        var wait = TimeSpan.Zero;
        var next = signal; // the end of this phase: first the signal, then the end of the drain
        while (true)
        {
            await Task.WhenAny(Task.Delay(wait), next);
            if (next.IsCompleted)
            {
                if (draining)
                {
                    await DeregisterAsync();
                    return;
                }
                draining = true;
                next = Task.Delay(drain);
            }
            me.Reported = new Reported { State = draining ? ReportedState.Draining : ReportedState.Healthy };

            var method = registered ? "Heartbeat" : "Register";
            var rejection = RejectionReason.Unspecified;
            try
            {
                if (registered)
                {
                    rejection = await BeatAsync();
                }
                else
                {
                    await RegisterAsync();
                }
            }
            catch (RpcException error)
            {
                switch (error.StatusCode)
                {
                    case StatusCode.InvalidArgument or StatusCode.FailedPrecondition or StatusCode.PermissionDenied:
                    case StatusCode.Unauthenticated when !ever: // later, a token may be in renewal
                        throw new CallFailedException(method, error);
                }
                Console.Error.WriteLine(CallFailedException.Describe(method, error));
                // Again at once, then after 1 s, doubled up to the interval, with full jitter.
                failures++;
                var longest = Math.Min(interval.TotalSeconds, Math.Pow(2, failures - 2));
                wait = failures == 1 ? TimeSpan.Zero : TimeSpan.FromSeconds(longest * Random.Shared.NextDouble());
                continue;
            }
            registered = ever = true;
            failures = 0;
            wait = interval * (0.9 + 0.2 * Random.Shared.NextDouble());
            switch (rejection)
            {
                case RejectionReason.Unspecified:
                    break;
                case RejectionReason.NotRegistered:
                    registered = false;
                    wait = TimeSpan.Zero;
                    break;
                case RejectionReason.Retry:
                    wait = interval / 4;
                    break;
                default:
                    // The names of C# are short, such as Superseded. The descriptor has those of the proto.
                    var type = RejectedHeartbeat.Descriptor.FindFieldByName("reason").EnumType;
                    var name = type.FindValueByNumber((int)rejection)?.Name ?? $"{rejection}";
                    throw new RegistrationOverException(name.Replace("REJECTION_REASON_", ""));
            }
        }
    }

    private async Task RegisterAsync()
    {
        var request = new RegisterRequest { Instance = me, Incarnation = incarnation };
        var reply = await connection.Registry.RegisterAsync(request, Connection.Call());
        interval = reply.HeartbeatInterval.ToTimeSpan();
        Console.WriteLine($"registered {me.Service}/{me.Id}");
    }

    /// <summary>A heartbeat that did not count is OK as a call. Then this returns the reason.</summary>
    private async Task<RejectionReason> BeatAsync()
    {
        var item = new HeartbeatItem
        {
            Service = me.Service,
            Id = me.Id,
            Incarnation = incarnation,
            Reported = me.Reported,
        };
        var request = new HeartbeatRequest { Instances = { item } };
        var reply = await connection.Registry.HeartbeatAsync(request, Connection.Call());
        interval = reply.HeartbeatInterval?.ToTimeSpan() ?? interval;
        return reply.Rejected.Count > 0 ? reply.Rejected[0].Reason : RejectionReason.Unspecified;
    }

    /// <summary>If no server answers, the instance expires as if the process had died.</summary>
    private async Task DeregisterAsync()
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                var request = new DeregisterRequest { Service = me.Service, Id = me.Id, Incarnation = incarnation };
                await connection.Registry.DeregisterAsync(request, Connection.Call());
                return;
            }
            catch (RpcException error) when (error.StatusCode == StatusCode.NotFound)
            {
                return; // it never was registered
            }
            catch (RpcException error) when (attempt == 2)
            {
                throw new CallFailedException("Deregister", error);
            }
            catch (RpcException error)
            {
                Console.Error.WriteLine(CallFailedException.Describe("Deregister", error));
            }
        }
    }
}

/// <summary>The registration is over. The message is the reason, such as SUPERSEDED.</summary>
public sealed class RegistrationOverException(string reason) : Exception(reason);
