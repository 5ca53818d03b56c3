package latchkeygrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	latchkey "latchkey.example/client"
)

type step map[string]json.RawMessage

type start struct {
	JwksURL, RevocationsURL, Issuer string
	NowMs                           float64
}

func command(t *testing.T, name string, value json.RawMessage, result any) {
	t.Helper()
	response, err := http.Post(os.Getenv("LATCHKEY_CONTROL")+"/"+name, "application/json", bytes.NewReader(value))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK || json.Unmarshal(text, result) != nil {
		t.Fatalf("%s: %v %s", name, err, text)
	}
}

// Runs those cases of ../../cases.json that demand a token, on a gRPC server.
func TestTable(t *testing.T) {
	if os.Getenv("LATCHKEY_CONTROL") == "" {
		t.Skip("LATCHKEY_CONTROL is not set: run `npm test -- test/kit/languages`")
	}
	text, err := os.ReadFile("../../cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Verifiers []struct {
			ID      string
			Options struct{ Revocations bool }
			Steps   []step
		}
	}
	if err := json.Unmarshal(text, &table); err != nil {
		t.Fatal(err)
	}
	for _, each := range table.Verifiers {
		if !slices.ContainsFunc(each.Steps, func(s step) bool { return s["demand"] != nil }) {
			continue
		}
		t.Run(each.ID, func(t *testing.T) {
			var at start
			command(t, "case", nil, &at)
			options := latchkey.VerifierOptions{Now: func() time.Time { return time.UnixMilli(int64(at.NowMs)) }}
			if each.Options.Revocations {
				options.RevocationsURL = at.RevocationsURL
			}
			verifier, err := latchkey.NewVerifier(at.Issuer, at.JwksURL, options)
			if err != nil {
				t.Fatal(err)
			}
			var made struct{ Token string }
			for _, step := range each.Steps {
				for name, value := range step {
					switch name {
					case "demand":
						demand(t, verifier, made.Token, value)
					case "issue", "mint":
						command(t, name, value, &made)
					default:
						command(t, name, value, &struct{}{})
						// Some of these steps advance the server's clock.
						command(t, "advance", json.RawMessage("0"), &at)
					}
				}
			}
		})
	}
}

func demand(t *testing.T, verifier *latchkey.Verifier, token string, value json.RawMessage) {
	t.Helper()
	var demanded struct {
		Scheme, Authorization *string
		Roles                 []string
		Answers               string
	}
	if err := json.Unmarshal(value, &demanded); err != nil {
		t.Fatal(err)
	}
	sent := "Bearer " + token
	if demanded.Scheme != nil {
		sent = *demanded.Scheme + token
	}
	if demanded.Authorization != nil {
		sent = *demanded.Authorization
	}
	wanted := map[string]codes.Code{
		"200": codes.OK, "401": codes.Unauthenticated, "403": codes.PermissionDenied, "503": codes.Unavailable,
	}[strings.Fields(demanded.Answers)[0]]
	orders := &orders{Server: health.NewServer()}
	unary, stream := orders.ask(t, Demand{Verifier: verifier, Roles: demanded.Roles}, sent)
	if unary != wanted || stream != wanted {
		t.Fatalf("%v and %v instead of %v", unary, stream, wanted)
	}
	if isCalled := orders.calls > 0; isCalled != (wanted == codes.OK) {
		t.Fatalf("%d calls reached a handler, %v was answered", orders.calls, wanted)
	}
}

func TestOpenMethods(t *testing.T) {
	verifier, err := latchkey.NewVerifier("nobody", "http://127.0.0.1:1", latchkey.VerifierOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for open, isOpen := range map[string]bool{
		"/grpc.health.v1.Health/":      true,
		"/grpc.health.v1.Health/Check": true,
		"/grpc.health.v1.Health/Che":   false,
		"/grpc.health.v1.Health":       false,
	} {
		orders := &orders{Server: health.NewServer(), isOpen: true}
		unary, _ := orders.ask(t, Demand{Verifier: verifier, Open: []string{open}}, "")
		if (unary == codes.OK) != isOpen {
			t.Errorf("open %s: %v", open, unary)
		}
	}
}

// orders is a service; only its methods matter.
type orders struct {
	*health.Server
	isOpen bool
	calls  int
}

func (o *orders) Check(ctx context.Context, request *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	if err := o.seen(ctx); err != nil {
		return nil, err
	}
	return o.Server.Check(ctx, request)
}

func (o *orders) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	return o.seen(stream.Context())
}

func (o *orders) seen(ctx context.Context) error {
	o.calls++
	if !o.isOpen && latchkey.ClaimsOf(ctx).Subject == "" {
		return status.Error(codes.Internal, "no claims")
	}
	return nil
}

// ask makes a unary and a stream call to a server, and returns their codes.
func (o *orders) ask(t *testing.T, demand Demand, authorization string) (unary, stream codes.Code) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(demand.Unary), grpc.StreamInterceptor(demand.Stream))
	healthpb.RegisterHealthServer(server, o)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx := context.Background()
	if authorization != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", authorization)
	}
	client := healthpb.NewHealthClient(conn)
	_, err = client.Check(ctx, &healthpb.HealthCheckRequest{})
	unary = status.Code(err)
	watch, err := client.Watch(ctx, &healthpb.HealthCheckRequest{})
	if err == nil {
		if _, err = watch.Recv(); err == io.EOF {
			err = nil
		}
	}
	return unary, status.Code(err)
}
