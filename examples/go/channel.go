package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // healthCheckConfig does nothing without it
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
)

// Calls go round all servers. One that cannot be reached, shuts down or reports NOT_SERVING is left out.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "healthCheckConfig": {"serviceName": ""},
  "methodConfig": [{
    "name": [{"service": "rollcall.v1.RegistryService"}, {"service": "rollcall.v1.ConfigService"}],
    "retryPolicy": {
      "maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

func dial(servers []string, ca, tokenFile string) (*grpc.ClientConn, error) {
	// One name in DNS for all servers would need no resolver: grpc.NewClient("dns:///rollcall:7400").
	var state resolver.State
	for _, server := range servers {
		host, _, err := net.SplitHostPort(server)
		if err != nil {
			return nil, fmt.Errorf("ROLLCALL_SERVERS: %w", err)
		}
		// Each server shows a certificate for its own name.
		address := resolver.Address{Addr: server, ServerName: host}
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{address}})
	}
	list := manual.NewBuilderWithScheme("list")
	list.InitialState(state)

	creds := insecure.NewCredentials()
	if ca != "" {
		var err error
		if creds, err = credentials.NewClientTLSFromFile(ca, ""); err != nil {
			return nil, fmt.Errorf("ROLLCALL_CA: %w", err)
		}
	}
	options := []grpc.DialOption{
		grpc.WithResolvers(list),
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultServiceConfig(serviceConfig),
		// By default, the wait before another try to connect grows to 2 min. That is longer than a ttl.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// Finds out that the machine of a server is gone, which no packet says.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 20 * time.Second, Timeout: 5 * time.Second}),
	}
	if tokenFile != "" {
		// The health check has the credentials of the channel, too. While they fail, every server seems to be away.
		if _, err := os.ReadFile(tokenFile); err != nil {
			return nil, fmt.Errorf("ROLLCALL_TOKEN_FILE: %w", err)
		}
		options = append(options, grpc.WithPerRPCCredentials(bearer(tokenFile)))
	}
	return grpc.NewClient("list:///rollcall", options...)
}

// bearer is a file with a token. It is read for each call, so that the token can be renewed.
type bearer string

func (file bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	token, err := os.ReadFile(string(file))
	return map[string]string{"authorization": "Bearer " + strings.TrimSpace(string(token))}, err
}

// RequireTransportSecurity is true in a program that talks to other machines. This one may also try
// out tokens on localhost without TLS.
func (bearer) RequireTransportSecurity() bool { return false }

// describe says what failed and why: the code, the reason of Rollcall and the message.
func describe(method string, err error) error {
	s, reason := status.Convert(err), "-" // errors of gRPC itself have no reason
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			reason = info.Reason
		}
	}
	return errors.New(fmt.Sprint(method, ": ", code.Code(s.Code()), " ", reason, ": ", s.Message()))
}
