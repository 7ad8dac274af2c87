package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "example.com/hello/gen/rollcall/v1"
)

// A silent stream is dead: a live one has a bookmark every 15 s.
const silence = 45 * time.Second

type message interface{ GetProgress() *pb.WatchProgress }

type stream[M message] interface{ Recv() (M, error) }

// watch opens a stream, and opens it again with the last token after each end. What has arrived is
// staged until a message has a revision; apply then gets all of it at once. If snapshot is set, the
// staged messages replace the view.
func watch[M message](ctx context.Context, method, name string,
	open func(ctx context.Context, token string) (stream[M], error), apply func(snapshot bool, staged []M)) error {
	var token string
	var staged []M
	var snapshot bool
	once := func() (received bool, err error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		quiet := time.AfterFunc(silence, cancel)
		defer quiet.Stop()
		s, err := open(ctx, token)
		if err != nil {
			return false, err
		}
		for first := true; ; first = false {
			m, err := s.Recv()
			if err != nil {
				return !first, err
			}
			quiet.Reset(silence)
			p := m.GetProgress()
			if first && !p.Continues {
				staged, snapshot = nil, false
			}
			if p.ResetReason != pb.ResetReason_RESET_REASON_UNSPECIFIED {
				fmt.Println("reset", name, strings.TrimPrefix(p.ResetReason.String(), "RESET_REASON_"))
			}
			if p.Kind == pb.WatchKind_WATCH_KIND_SNAPSHOT && !snapshot {
				staged, snapshot = nil, true
			}
			staged = append(staged, m)
			if p.Revision != 0 {
				apply(snapshot, staged)
				staged, snapshot, token = nil, false, p.ResumeToken
			} else if p.ContinueToken != "" {
				token = p.ContinueToken // the next stream sends only the rest of this view
			}
		}
	}
	const least, most = 200 * time.Millisecond, 5 * time.Second
	for backoff := least; ; backoff = min(2*backoff, most) {
		received, err := once()
		if ctx.Err() != nil {
			return nil
		}
		failure := describe(method, err)
		switch status.Code(err) {
		case codes.InvalidArgument, codes.PermissionDenied, codes.Unimplemented:
			return failure
		}
		fmt.Fprintln(os.Stderr, failure)
		if received {
			backoff = least
		}
		time.Sleep(jitter(backoff))
	}
}

func watchService(ctx context.Context, registry pb.RegistryServiceClient, service string) error {
	open := func(ctx context.Context, token string) (stream[*pb.WatchServicesResponse], error) {
		return registry.WatchServices(ctx, &pb.WatchServicesRequest{Services: []string{service}, ResumeToken: token})
	}
	view := map[string]*pb.Instance{}
	var shown string
	return watch(ctx, "WatchServices", "services", open, func(snapshot bool, staged []*pb.WatchServicesResponse) {
		if snapshot {
			clear(view)
		}
		for _, m := range staged {
			for _, gone := range m.Removed {
				delete(view, gone.Id)
			}
			for _, instance := range m.Upserted {
				view[instance.Id] = instance
			}
		}
		ids := strings.Join(slices.Sorted(maps.Keys(view)), " ")
		if ids == "" {
			ids = "-"
		}
		if ids != shown {
			shown = ids
			fmt.Printf("instances %s: %s\n", service, ids)
		}
	})
}

func watchConfig(ctx context.Context, configs pb.ConfigServiceClient, key string) error {
	open := func(ctx context.Context, token string) (stream[*pb.WatchConfigResponse], error) {
		return configs.WatchConfig(ctx, &pb.WatchConfigRequest{
			Filters: []*pb.ConfigFilter{{Keys: []string{key}}}, ResumeToken: token,
		})
	}
	var current *pb.Config // a real service reads its settings from the text
	var shown string
	return watch(ctx, "WatchConfig", "config", open, func(snapshot bool, staged []*pb.WatchConfigResponse) {
		if snapshot {
			current = nil
		}
		for _, m := range staged {
			if len(m.Removed) > 0 {
				current = nil
			}
			for _, config := range m.Upserted {
				current = config
			}
		}
		state := "deleted"
		if current != nil {
			state = fmt.Sprint(current.Version)
		} else if shown == "" || shown == "missing" {
			state = "missing"
		}
		if state != shown {
			shown = state
			fmt.Printf("config %s %s\n", key, state)
		}
	})
}
