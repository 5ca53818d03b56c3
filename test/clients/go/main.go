// Calls rpcs with grpc-go: a JSON array of calls on standard input, a JSON array of the codes on standard output.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	authv1 "latchkey.test/clients/gen/auth/v1"
)

type call struct {
	Path          string
	Message       []byte
	Authorization string
}

func main() {
	var calls []call
	if err := json.NewDecoder(os.Stdin).Decode(&calls); err != nil {
		log.Fatal(err)
	}
	conn, err := grpc.NewClient(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	codes := []uint32{}
	for _, one := range calls {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if one.Authorization != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", one.Authorization)
		}
		codes = append(codes, uint32(status.Code(one.send(ctx, conn))))
		cancel()
	}
	if err := json.NewEncoder(os.Stdout).Encode(codes); err != nil {
		log.Fatal(err)
	}
}

// send uses the stub of the rpc. What no stub can send goes as the unknown fields of an empty message.
func (c call) send(ctx context.Context, conn *grpc.ClientConn) error {
	auth := authv1.NewAuthServiceClient(conn)
	switch c.Path {
	case authv1.AuthService_Login_FullMethodName:
		request := &authv1.LoginRequest{}
		if proto.Unmarshal(c.Message, request) == nil {
			_, err := auth.Login(ctx, request)
			return err
		}
	case authv1.AuthService_IssueToken_FullMethodName:
		_, err := auth.IssueToken(ctx, &authv1.IssueTokenRequest{})
		return err
	case healthpb.Health_Check_FullMethodName:
		request := &healthpb.HealthCheckRequest{}
		if err := proto.Unmarshal(c.Message, request); err != nil {
			return err
		}
		_, err := healthpb.NewHealthClient(conn).Check(ctx, request)
		return err
	}
	request := &emptypb.Empty{}
	request.ProtoReflect().SetUnknown(c.Message)
	return conn.Invoke(ctx, c.Path, request, &emptypb.Empty{})
}
