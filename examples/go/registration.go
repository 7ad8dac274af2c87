package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/hello/gen/rollcall/v1"
)

const deadline = 3 * time.Second

// errOver says why the registration is over for good.
type errOver string

func (e errOver) Error() string { return "over " + string(e) }

// registration keeps one instance registered.
type registration struct {
	registry    pb.RegistryServiceClient
	me          *pb.Instance
	incarnation string // drawn once per run, so that a newer run fences an older one
	interval    time.Duration
	registered  bool // false: the next call is Register
	known       bool // a Register has succeeded before
	failures    int  // calls that failed, one after the other
}

// keep registers, sends heartbeats until stop, reports DRAINING for a while, and deregisters.
func (r *registration) keep(ctx context.Context, stop <-chan struct{}, drain time.Duration) error {
	next := time.NewTimer(0)
	var leave <-chan time.Time
	for {
		draining := false
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-leave:
			return r.deregister(ctx)
		case <-stop:
			stop, draining = nil, true // a nil channel is never ready
			r.me.Reported.State = pb.ReportedState_REPORTED_STATE_DRAINING
		case <-next.C:
		}
		wait, err := r.beat(ctx)
		if err != nil {
			return err
		}
		next.Reset(wait)
		if draining {
			leave = time.After(drain)
		}
	}
}

// beat sends one Register or Heartbeat, and says how long to wait before the next one.
func (r *registration) beat(ctx context.Context) (time.Duration, error) {
	call, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var interval *durationpb.Duration
	var rejected []*pb.RejectedHeartbeat
	var err error
	method := "Register"
	if r.registered {
		method = "Heartbeat"
		var reply *pb.HeartbeatResponse
		reply, err = r.registry.Heartbeat(call, &pb.HeartbeatRequest{Instances: []*pb.HeartbeatItem{{
			Service: r.me.Service, Id: r.me.Id, Incarnation: &r.incarnation, Reported: r.me.Reported,
		}}})
		interval, rejected = reply.GetHeartbeatInterval(), reply.GetRejected()
	} else {
		var reply *pb.RegisterResponse
		reply, err = r.registry.Register(call, &pb.RegisterRequest{Instance: r.me, Incarnation: &r.incarnation})
		interval = reply.GetHeartbeatInterval()
	}
	if err != nil {
		failure := describe(method, err)
		switch code := status.Code(err); {
		case ctx.Err() != nil:
			return 0, context.Cause(ctx)
		case code == codes.InvalidArgument, code == codes.FailedPrecondition, code == codes.PermissionDenied,
			code == codes.Unauthenticated && !r.known: // later it may be a token that is being renewed
			return 0, failure
		}
		fmt.Fprintln(os.Stderr, failure)
		r.failures++
		if r.failures == 1 {
			return 0, nil
		}
		return jitter(min(time.Second<<min(r.failures-2, 10), r.interval)), nil
	}
	if !r.registered {
		fmt.Printf("registered %s/%s\n", r.me.Service, r.me.Id)
	}
	r.failures, r.registered, r.known, r.interval = 0, true, true, interval.AsDuration()
	wait := r.interval*9/10 + jitter(r.interval/5)
	for _, item := range rejected { // the call is OK even if the heartbeat did not count
		fmt.Fprintln(os.Stderr, "Heartbeat:", item.Reason, item.Message)
		switch item.Reason {
		case pb.RejectionReason_REJECTION_REASON_NOT_REGISTERED:
			r.registered, wait = false, 0
		case pb.RejectionReason_REJECTION_REASON_RETRY:
			wait = r.interval / 4
		default:
			return 0, errOver(strings.TrimPrefix(item.Reason.String(), "REJECTION_REASON_"))
		}
	}
	return wait, nil
}

func (r *registration) deregister(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	_, err := r.registry.Deregister(ctx, &pb.DeregisterRequest{
		Service: r.me.Service, Id: r.me.Id, Incarnation: &r.incarnation,
	})
	if err != nil && status.Code(err) != codes.NotFound { // NOT_FOUND: it is gone already
		return describe("Deregister", err) // the instance expires as if the process had died
	}
	return nil
}

// jitter draws a duration below limit, so that clients do not call in step after a failure.
func jitter(limit time.Duration) time.Duration { return rand.N(max(limit, 1)) }
