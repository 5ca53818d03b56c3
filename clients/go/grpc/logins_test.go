package latchkeygrpc

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// A rawCodec passes messages on as they are.
type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*[]byte) = data; return nil }
func (rawCodec) Name() string                       { return "proto" }

// Logs in to TARGET again and again with grpc-go and the service config of docs/clients.md, and prints the code of each
// login, until it is killed.
func TestLogins(t *testing.T) {
	if os.Getenv("TARGET") == "" {
		t.Skip("TARGET is not set: run `npm test -- test/kit/languages`")
	}
	message, err := base64.StdEncoding.DecodeString(os.Getenv("LOGIN"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient(os.Getenv("TARGET"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(os.Getenv("SERVICE_CONFIG")))
	if err != nil {
		t.Fatal(err)
	}
	logIn := func() {
		for {
			var answer []byte
			err := conn.Invoke(context.Background(), "/auth.v1.AuthService/Login", &message, &answer, grpc.ForceCodec(rawCodec{}))
			fmt.Println("login:", status.Code(err), status.Convert(err).Message())
			time.Sleep(100 * time.Millisecond)
		}
	}
	go logIn()
	logIn()
}
