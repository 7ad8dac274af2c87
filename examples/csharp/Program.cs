// A service that registers, sends heartbeats, watches a service and a config, and leaves in order when it is stopped.
using System.Runtime.InteropServices;
using Google.Protobuf.WellKnownTypes;
using Hello;
using Rollcall.V1;

try
{
    var me = new Instance
    {
        Service = Settings.Text("SERVICE", "hello"),
        Id = Settings.Text("INSTANCE_ID", "csharp"),
        Address = Settings.Text("ADDRESS", "127.0.0.1"),
        Port = Settings.Number("PORT", 8080),
        Ttl = Duration.FromTimeSpan(TimeSpan.FromSeconds(Settings.Number("TTL_SECONDS", 15))),
    };
    var drain = TimeSpan.FromSeconds(Settings.Number("DRAIN_SECONDS", 1));
    var watcher = new WatcherIdentity { InstanceId = me.Id };

    // Cancel keeps the runtime from ending the process at once.
    var signal = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
    void OnSignal(PosixSignalContext context)
    {
        context.Cancel = true;
        signal.TrySetResult();
    }
    using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, OnSignal);
    using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, OnSignal);

    using var connection = new Connection();
    Task[] loops =
    [
        new Registration(connection, me).KeepAsync(signal.Task, drain),
        Watches.InstancesAsync(connection, Settings.Text("WATCH_SERVICE", me.Service), watcher),
        Watches.ConfigAsync(connection, Settings.Text("CONFIG_KEY", "hello.yaml"), watcher),
    ];
    // The first loop that ends, ends the process. Only the registration ends without an exception.
    await await Task.WhenAny(loops);
    Console.WriteLine("deregistered");
    return 0;
}
catch (RegistrationOverException over)
{
    Console.WriteLine($"over {over.Message}");
    return 3;
}
catch (Exception exception) when (exception is CallFailedException or SettingException)
{
    Console.Error.WriteLine(exception.Message);
    return 2;
}
