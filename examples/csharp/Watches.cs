using Grpc.Core;
using Rollcall.V1;

namespace Hello;

/// <summary>The watches of a service and of a config. They end only when they cannot succeed.</summary>
public static class Watches
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(0.2);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);

    // Bookmarks come every 15 s, so a stream that is silent for this time is dead.
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(45);

    public static Task InstancesAsync(Connection connection, string service, WatcherIdentity watcher)
    {
        var last = "";
        return FollowAsync<WatchServicesResponse, Instance>(
            "services",
            "WatchServices",
            (token, options) => connection.Registry.WatchServices(
                new WatchServicesRequest { Services = { service }, ResumeToken = token, Watcher = watcher }, options),
            message => (message.Progress, [
                .. message.Upserted.Select(item => new Change<Instance>(item.Id, item)),
                .. message.Removed.Select(item => new Change<Instance>(item.Id, null)),
            ]),
            view =>
            {
                var line = view.Count == 0 ? "-" : string.Join(' ', view.Keys);
                if (line != last)
                {
                    Console.WriteLine($"instances {service}: {line}");
                }
                last = line;
            });
    }

    public static Task ConfigAsync(Connection connection, string key, WatcherIdentity watcher)
    {
        var last = "";
        return FollowAsync<WatchConfigResponse, Config>(
            "config",
            "WatchConfig",
            (token, options) => connection.Configs.WatchConfig(
                new WatchConfigRequest
                {
                    Filters = { new ConfigFilter { Keys = { key } } },
                    ResumeToken = token,
                    Watcher = watcher,
                },
                options),
            message => (message.Progress, [
                .. message.Upserted.Select(item => new Change<Config>(item.Key, item)),
                .. message.Removed.Select(item => new Change<Config>(item.Key, null)),
            ]),
            view =>
            {
                var now = view.TryGetValue(key, out var config) ? $"{config.Version}"
                    : last is "" or "missing" ? "missing" : "deleted";
                if (now != last)
                {
                    Console.WriteLine($"config {key} {now}");
                }
                last = now;
            });
    }

    private static async Task FollowAsync<TMessage, TItem>(
        string name,
        string method,
        Func<string, CallOptions, AsyncServerStreamingCall<TMessage>> open,
        Func<TMessage, (WatchProgress Progress, Change<TItem>[] Changes)> split,
        Action<IReadOnlyDictionary<string, TItem>> show)
        where TItem : class
    {
        var view = new View<TItem>();
        var pause = FirstPause;
        while (true)
        {
            try
            {
                using var silence = new CancellationTokenSource(Silence);
                using var call = open(view.Token, Connection.Watch(silence.Token));
                var first = true;
                await foreach (var message in call.ResponseStream.ReadAllAsync())
                {
                    silence.CancelAfter(Silence); // begins again
                    var (progress, changes) = split(message);
                    if (progress.ResetReason != ResetReason.Unspecified)
                    {
                        var type = WatchProgress.Descriptor.FindFieldByName("reset_reason").EnumType;
                        var reason = type.FindValueByNumber((int)progress.ResetReason)?.Name ?? "";
                        Console.WriteLine($"reset {name} {reason.Replace("RESET_REASON_", "")}");
                    }
                    if (view.Take(first, progress, changes))
                    {
                        show(view.Items);
                    }
                    first = false;
                    pause = FirstPause;
                }
            }
            catch (RpcException error)
            {
                switch (error.StatusCode)
                {
                    case StatusCode.InvalidArgument or StatusCode.PermissionDenied or StatusCode.Unimplemented:
                        throw new CallFailedException(method, error);
                }
                Console.Error.WriteLine(CallFailedException.Describe(method, error));
            }
            await Task.Delay(pause * Random.Shared.NextDouble());
            pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
        }
    }
}

/// <summary>An item to set, or to remove if it is null.</summary>
public sealed record Change<TItem>(string Name, TItem? Item)
    where TItem : class;

/// <summary>The view. Changes are staged until a message carries a revision, and then applied together.</summary>
public sealed class View<TItem>
    where TItem : class
{
    private readonly SortedDictionary<string, TItem> items = new(StringComparer.Ordinal);
    private readonly List<Change<TItem>> staged = [];
    private bool stagedIsSnapshot;

    public IReadOnlyDictionary<string, TItem> Items => items;

    public string Token { get; private set; } = "";

    /// <summary>Takes one message. Returns true if the view now equals the store at a revision.</summary>
    public bool Take(bool first, WatchProgress progress, Change<TItem>[] changes)
    {
        var isSnapshot = progress.Kind == WatchKind.Snapshot;
        if ((first && !progress.Continues) || (isSnapshot && !stagedIsSnapshot))
        {
            staged.Clear();
            stagedIsSnapshot = isSnapshot;
        }
        staged.AddRange(changes);
        if (progress.Revision == 0)
        {
            if (progress.ContinueToken != "")
            {
                Token = progress.ContinueToken;
            }
            return false;
        }
        if (stagedIsSnapshot)
        {
            items.Clear();
        }
        foreach (var (name, item) in staged)
        {
            if (item is null)
            {
                items.Remove(name);
            }
            else
            {
                items[name] = item;
            }
        }
        staged.Clear();
        stagedIsSnapshot = false;
        Token = progress.ResumeToken;
        return true;
    }
}
