// Logs in to Latchkey, renews the token, and verifies it with the published key set.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"

	authv1 "latchkey.example/gen/auth/v1"
	"latchkey.example/gen/auth/v1/authv1connect"
)

const issuer = "NomicGameManager.Api"

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	url := getenv("LATCHKEY_URL", "http://127.0.0.1:8080")
	client := authv1connect.NewAuthServiceClient(http.DefaultClient, url)

	login, err := client.Login(ctx, connect.NewRequest(&authv1.LoginRequest{
		Username: getenv("LATCHKEY_USERNAME", "TestUser"),
		Password: getenv("LATCHKEY_PASSWORD", "password"),
	}))
	if err != nil {
		return fmt.Errorf("log in: %w", err)
	}

	renewal := connect.NewRequest(&authv1.IssueTokenRequest{})
	renewal.Header().Set("Authorization", "Bearer "+login.Msg.GetAccessToken())
	renewed, err := client.IssueToken(ctx, renewal)
	if err != nil {
		return fmt.Errorf("renew: %w", err)
	}

	// A long-running process keeps the key set in a jwk.Cache, with jwk.WithMaxInterval(5*time.Minute).
	keys, err := jwk.Fetch(ctx, getenv("LATCHKEY_JWKS_URL", url+"/.well-known/jwks.json"))
	if err != nil {
		return fmt.Errorf("read the key set: %w", err)
	}
	token, err := jwt.ParseString(renewed.Msg.GetAccessToken(), jwt.WithKeySet(keys),
		jwt.WithIssuer(issuer), jwt.WithRequiredClaim(jwt.ExpirationKey),
		jwt.WithAcceptableSkew(10*time.Second))
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	subject, ok := token.Subject()
	if !ok {
		return errors.New("the token has no subject")
	}
	fmt.Printf("subject %s, until %s\n", subject, renewed.Msg.GetExpireTime().AsTime().Format(time.RFC3339))
	return nil
}

func getenv(name, fallback string) string {
	if value, ok := os.LookupEnv(name); ok {
		return value
	}
	return fallback
}
