// Command hello is an instance of a service in Rollcall: it registers, sends heartbeats, watches a
// service and a config, and leaves in order when it is stopped.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/hello/gen/rollcall/v1"
)

func main() {
	err := run()
	var over errOver
	switch {
	case err == nil:
		fmt.Println("deregistered")
	case errors.As(err, &over):
		fmt.Println(over)
		os.Exit(3)
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func run() error {
	service := env("SERVICE", "hello")
	port, errPort := strconv.ParseInt(env("PORT", "8080"), 10, 32)
	ttl, errTTL := seconds("TTL_SECONDS", "15")
	drain, errDrain := seconds("DRAIN_SECONDS", "1")
	if err := errors.Join(errPort, errTTL, errDrain); err != nil {
		return err
	}
	servers := strings.Split(env("ROLLCALL_SERVERS", "localhost:7400"), ",")
	conn, err := dial(servers, os.Getenv("ROLLCALL_CA"), os.Getenv("ROLLCALL_TOKEN_FILE"))
	if err != nil {
		return err
	}
	defer conn.Close()
	registry, configs := pb.NewRegistryServiceClient(conn), pb.NewConfigServiceClient(conn)

	signaled, restore := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(signaled, restore) // a second signal ends the process at once

	// The calls have a context of their own: they go on while the process drains.
	ctx, fail := context.WithCancelCause(context.Background())
	defer fail(nil)
	go func() {
		if err := watchService(ctx, registry, env("WATCH_SERVICE", service)); err != nil {
			fail(err)
		}
	}()
	go func() {
		if err := watchConfig(ctx, configs, env("CONFIG_KEY", "hello.yaml")); err != nil {
			fail(err)
		}
	}()

	r := registration{
		registry: registry,
		me: &pb.Instance{
			Service:  service,
			Id:       env("INSTANCE_ID", "go"),
			Address:  env("ADDRESS", "127.0.0.1"),
			Port:     int32(port),
			Ttl:      durationpb.New(ttl),
			Reported: &pb.Reported{State: pb.ReportedState_REPORTED_STATE_HEALTHY},
		},
		incarnation: rand.Text(),
		interval:    ttl / 3,
	}
	return r.keep(ctx, signaled.Done(), drain)
}

func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

func seconds(name, fallback string) (time.Duration, error) {
	n, err := strconv.ParseFloat(env(name, fallback), 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return time.Duration(n * float64(time.Second)), nil
}
