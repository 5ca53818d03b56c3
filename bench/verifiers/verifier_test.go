// Verifiers for Go, set up by their documentation; verifier.js describes the protocol. The clock is that of a synctest
// bubble, for which the program has to be a test.
package verifiers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/auth0/go-jwt-middleware/v2/jwks"
	"github.com/auth0/go-jwt-middleware/v2/validator"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/httprc/v3"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxt "github.com/lestrrat-go/jwx/v3/jwt"
)

const audience = "api"

var (
	issuer  = os.Getenv("ISSUER")
	jwksURL = os.Getenv("JWKS_URL")
	// A kept connection has goroutines that never block, and then the bubble's clock would stand still.
	client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
)

type verify func(token string) error

func golangJWT(keys keyfunc.Keyfunc) verify {
	return func(token string) error {
		_, err := jwt.Parse(token, keys.Keyfunc, jwt.WithValidMethods([]string{"RS256"}),
			jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())
		return err
	}
}

func withKeyfunc(ctx context.Context, override keyfunc.Override) (verify, error) {
	override.Client = client
	keys, err := keyfunc.NewDefaultOverrideCtx(ctx, []string{jwksURL}, override)
	if err != nil {
		return nil, err
	}
	return golangJWT(keys), nil
}

func withJWX(ctx context.Context, options ...jwk.RegisterOption) (verify, error) {
	cache, err := jwk.NewCache(ctx, httprc.NewClient())
	if err != nil {
		return nil, err
	}
	if err := cache.Register(ctx, jwksURL, append(options, jwk.WithHTTPClient(client))...); err != nil {
		return nil, err
	}
	keys, err := cache.CachedSet(jwksURL)
	if err != nil {
		return nil, err
	}
	return func(token string) error {
		_, err := jwxt.ParseString(token, jwxt.WithKeySet(keys), jwxt.WithIssuer(issuer),
			jwxt.WithAudience(audience), jwxt.WithRequiredClaim(jwxt.ExpirationKey),
			// Without it, a token of a server whose clock is a second ahead is refused.
			jwxt.WithAcceptableSkew(10*time.Second))
		return err
	}, nil
}

func withOIDC(ctx context.Context, discovers bool) (verify, error) {
	ctx = oidc.ClientContext(ctx, client)
	config := &oidc.Config{ClientID: audience}
	verifier := oidc.NewVerifier(issuer, oidc.NewRemoteKeySet(ctx, jwksURL), config)
	if discovers {
		provider, err := oidc.NewProvider(ctx, issuer)
		if err != nil {
			return nil, err
		}
		verifier = provider.VerifierContext(ctx, config)
	}
	return func(token string) error {
		_, err := verifier.Verify(ctx, token)
		return err
	}, nil
}

func withAuth0(ttl time.Duration) (verify, error) {
	at, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	keys := jwks.NewCachingProvider(at, ttl, jwks.WithCustomClient(client))
	validates, err := validator.New(keys.KeyFunc, validator.RS256, issuer, []string{audience})
	if err != nil {
		return nil, err
	}
	return func(token string) error {
		_, err := validates.ValidateToken(context.Background(), token)
		return err
	}, nil
}

func library(ctx context.Context, name string) (verify, error) {
	switch name {
	case "golang-jwt, keyfunc":
		return withKeyfunc(ctx, keyfunc.Override{})
	case "golang-jwt, keyfunc set":
		return withKeyfunc(ctx, keyfunc.Override{RefreshInterval: 5 * time.Minute})
	case "jwx":
		return withJWX(ctx)
	case "jwx set":
		return withJWX(ctx, jwk.WithMinInterval(time.Minute), jwk.WithMaxInterval(5*time.Minute))
	case "go-oidc":
		return withOIDC(ctx, false)
	case "go-oidc, discovery":
		return withOIDC(ctx, true)
	case "go-jwt-middleware, discovery":
		return withAuth0(0)
	case "go-jwt-middleware, discovery set":
		return withAuth0(5 * time.Minute)
	}
	return nil, errors.New("no such library")
}

func TestVerifier(t *testing.T) {
	start, _ := strconv.ParseInt(os.Getenv("START_SECONDS"), 10, 64)
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(start, 0)))
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var check verify
		lines := bufio.NewScanner(os.Stdin)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Text()
			if passed, ok := strings.CutPrefix(line, "+"); ok {
				seconds, _ := strconv.ParseFloat(passed, 64)
				time.Sleep(time.Duration(seconds * float64(time.Second)))
				fmt.Println("ok")
				continue
			}
			err := error(nil)
			if check == nil {
				check, err = library(ctx, os.Getenv("LIBRARY"))
			}
			if err == nil {
				err = check(line)
			}
			if err == nil {
				fmt.Println("ok")
			} else {
				fmt.Println("no", strings.ReplaceAll(err.Error(), "\n", " "))
			}
		}
		os.Exit(0)
	})
}
