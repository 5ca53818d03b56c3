package latchkey

import (
	"context"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A RefusalCode is the reason why a token is refused.
type RefusalCode string

// The codes of refusals. With the last two the token could not be checked: answer 503, not 401.
const (
	Malformed              RefusalCode = "malformed"
	Algorithm              RefusalCode = "algorithm"
	Type                   RefusalCode = "type"
	UnknownKey             RefusalCode = "unknown_key"
	Signature              RefusalCode = "signature"
	Issuer                 RefusalCode = "issuer"
	Audience               RefusalCode = "audience"
	BadClaims              RefusalCode = "claims"
	Expired                RefusalCode = "expired"
	NotYetValid            RefusalCode = "not_yet_valid"
	Revoked                RefusalCode = "revoked"
	KeysUnavailable        RefusalCode = "keys_unavailable"
	RevocationsUnavailable RefusalCode = "revocations_unavailable"
)

// A TokenRefused is the only error of a verifier.
type TokenRefused struct{ Code RefusalCode }

func (e *TokenRefused) Error() string {
	return "latchkey: token refused: " + strings.ReplaceAll(string(e.Code), "_", " ")
}

// Outage reports whether the token could not be checked, so that it may be valid.
func (e *TokenRefused) Outage() bool {
	return e.Code == KeysUnavailable || e.Code == RevocationsUnavailable
}

// VerifierOptions are the options of a verifier; the zero value of each means its default.
type VerifierOptions struct {
	// Audience lists values of which a token's aud must have one. If it is empty, aud is not checked.
	Audience []string
	// Leeway is the allowed clock difference. At most 5 min, default 10 s; a negative value means none.
	Leeway time.Duration
	// Types are the accepted values of the header's typ. Default JWT and at+jwt.
	Types []string
	// UnknownKeyPause is the shortest time between two reads because of unknown kids. From 1 s, default 10 s.
	UnknownKeyPause time.Duration
	// RevocationsURL is the address of the list of revocations.
	RevocationsURL string
	// RevocationsMaxAge is how old a list may be that cannot be read again. From 10 s, default 1 min.
	RevocationsMaxAge time.Duration
	// AcceptWithoutRevocations accepts tokens without such a list.
	AcceptWithoutRevocations bool
	// Timeout limits one read. From 100 ms, default 5 s.
	Timeout time.Duration
	// HTTPClient reads the documents. Default one that follows no redirects.
	HTTPClient *http.Client
	// Now returns the time. Default the system's.
	Now func() time.Time
}

// Claims are the claims of a verified token.
type Claims struct {
	Subject, Issuer, ID string
	Expires, Issued     time.Time
	// AuthTime is when the user gave the password; zero if the token does not say.
	AuthTime time.Time
	Roles    []string
	// All has all claims as they stand in the token.
	All map[string]any
}

// A Verifier verifies access tokens by the published key set, without a call per token (RFC 7519, RFC 8725).
// It is safe for concurrent use.
type Verifier struct {
	issuer      string
	options     VerifierOptions
	keys        *cached[map[string]*rsa.PublicKey]
	revocations *cached[*revocations]
}

const (
	tokenBytesMax   = 8192
	revocationsType = "latchkey-revocations+jwt"
	// revocationsAge is the age after which the list is read again before a token is verified.
	revocationsAge = 5 * time.Second
)

var compact = regexp.MustCompile(`^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$`)

// NewVerifier returns a verifier of the tokens of an issuer, whose key set is at jwksURL.
func NewVerifier(issuer, jwksURL string, options VerifierOptions) (*Verifier, error) {
	setDefault(&options.Leeway, 10*time.Second)
	options.Leeway = max(0, options.Leeway)
	setDefault(&options.UnknownKeyPause, 10*time.Second)
	setDefault(&options.RevocationsMaxAge, time.Minute)
	setDefault(&options.Timeout, 5*time.Second)
	if options.Leeway > 5*time.Minute || options.UnknownKeyPause < time.Second ||
		options.RevocationsMaxAge < 10*time.Second || options.Timeout < 100*time.Millisecond {
		return nil, errors.New("latchkey: an option is out of its range")
	}
	if len(options.Types) == 0 {
		options.Types = []string{"JWT", "at+jwt"}
	}
	if options.HTTPClient == nil {
		options.HTTPClient = &http.Client{CheckRedirect: followNone}
	}
	if options.Now == nil {
		options.Now = time.Now
	}
	v := &Verifier{issuer: issuer, options: options}
	v.keys = &cached[map[string]*rsa.PublicKey]{
		client: options.HTTPClient, url: jwksURL, timeout: options.Timeout, now: options.Now, parse: readKeys,
		maxAge: 5 * time.Minute, maxAgeMax: 24 * time.Hour, stale: -1,
	}
	if options.RevocationsURL != "" {
		v.revocations = &cached[*revocations]{
			client: options.HTTPClient, url: options.RevocationsURL, timeout: options.Timeout, now: options.Now,
			parse: v.readRevocations, maxAge: revocationsAge, maxAgeMax: revocationsAge,
			stale: options.RevocationsMaxAge - revocationsAge,
		}
	}
	return v, nil
}

// Verify returns the token's claims. Its error is a *TokenRefused.
func (v *Verifier) Verify(token string) (*Claims, error) {
	if len(token) > tokenBytesMax || !compact.MatchString(token) {
		return nil, &TokenRefused{Malformed}
	}
	header, err := headerOf(token)
	if err != nil {
		return nil, err
	}
	if _, hasCritical := header["crit"]; hasCritical || !v.acceptsType(header["typ"]) {
		return nil, &TokenRefused{Type}
	}
	if header["alg"] != "RS256" {
		return nil, &TokenRefused{Algorithm}
	}
	payload, err := v.verifySignature(token, header["kid"])
	if err != nil {
		return nil, err
	}
	claims, err := v.claimsOf(payload)
	if err != nil {
		return nil, err
	}
	if v.revocations != nil {
		list, err := v.revocations.get()
		if err != nil && !v.options.AcceptWithoutRevocations {
			return nil, &TokenRefused{RevocationsUnavailable}
		}
		if err == nil && list.has(claims, header["kid"]) {
			return nil, &TokenRefused{Revoked}
		}
	}
	return claims, nil
}

func (v *Verifier) acceptsType(typ any) bool {
	accepts := func(accepted string) bool { return typeName(accepted) == typeName(typ) }
	return typ == nil || slices.ContainsFunc(v.options.Types, accepts)
}

func (v *Verifier) verifySignature(token string, kid any) (map[string]any, error) {
	keys, err := v.keys.get()
	if err != nil {
		return nil, &TokenRefused{KeysUnavailable}
	}
	found := candidates(keys, kid)
	// The key may be newer than the cached set. Limited, so that a flood of made-up ids causes no requests.
	if len(found) == 0 && v.keys.refresh(v.options.UnknownKeyPause) {
		if keys, err = v.keys.get(); err != nil {
			return nil, &TokenRefused{KeysUnavailable}
		}
		found = candidates(keys, kid)
	}
	if len(found) == 0 {
		return nil, &TokenRefused{UnknownKey}
	}
	return verifyBy(token, found)
}

func verifyBy(token string, keys []*rsa.PublicKey) (map[string]any, error) {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	for _, key := range keys {
		claims := jwt.MapClaims{}
		_, err := parser.ParseWithClaims(token, claims, func(*jwt.Token) (any, error) { return key, nil })
		if err == nil {
			return claims, nil
		}
		if !errors.Is(err, jwt.ErrTokenSignatureInvalid) {
			return nil, &TokenRefused{Malformed}
		}
	}
	return nil, &TokenRefused{Signature}
}

func (v *Verifier) claimsOf(payload map[string]any) (*Claims, error) {
	if payload["iss"] != v.issuer {
		return nil, &TokenRefused{Issuer}
	}
	if len(v.options.Audience) > 0 && !slices.ContainsFunc(v.options.Audience, isAmong(payload["aud"])) {
		return nil, &TokenRefused{Audience}
	}
	subject, _ := payload["sub"].(string)
	exp, hasExp := payload["exp"].(float64)
	iat, hasIat := payload["iat"].(float64)
	nbf, hasNbf := payload["nbf"].(float64)
	roles, areRoles := textsOf(payload["roles"])
	if subject == "" || !hasExp || !hasIat || (payload["nbf"] != nil && !hasNbf) || !areRoles {
		return nil, &TokenRefused{BadClaims}
	}
	if !hasNbf {
		nbf = iat
	}
	now, leeway := v.options.Now(), v.options.Leeway
	if atSeconds(math.Max(iat, nbf)).After(now.Add(leeway)) {
		return nil, &TokenRefused{NotYetValid}
	}
	if !atSeconds(exp).After(now.Add(-leeway)) {
		return nil, &TokenRefused{Expired}
	}
	id, _ := payload["jti"].(string)
	claims := &Claims{
		Subject: subject, Issuer: v.issuer, ID: id,
		Expires: atSeconds(exp), Issued: atSeconds(iat), Roles: roles, All: payload,
	}
	if since, ok := payload["auth_time"].(float64); ok {
		claims.AuthTime = atSeconds(since)
	}
	return claims, nil
}

func (v *Verifier) readRevocations(body []byte) (*revocations, error) {
	token := strings.TrimSpace(string(body))
	header, err := headerOf(token)
	if err != nil {
		return nil, err
	}
	if header["typ"] != revocationsType || header["alg"] != "RS256" {
		return nil, &TokenRefused{Type}
	}
	payload, err := v.verifySignature(token, header["kid"])
	if err != nil {
		return nil, err
	}
	exp, _ := payload["exp"].(float64)
	if payload["iss"] != v.issuer || atSeconds(exp).Before(v.options.Now().Add(-time.Minute)) {
		return nil, &TokenRefused{Expired}
	}
	salt, hasSalt := payload["salt"].(string)
	users, hasUsers := payload["users"].(map[string]any)
	keys, hasKeys := textsOf(payload["keys"])
	if !hasSalt || !hasUsers || !hasKeys {
		return nil, &TokenRefused{BadClaims}
	}
	return &revocations{salt, users, keys}, nil
}

// revocations has users by a keyed digest of sub, with the second up to which their tokens are refused, and revoked
// keys.
type revocations struct {
	salt  string
	users map[string]any
	keys  []string
}

func (r *revocations) has(claims *Claims, kid any) bool {
	if text, ok := kid.(string); ok && slices.Contains(r.keys, text) {
		return true
	}
	if len(r.users) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, []byte(r.salt))
	mac.Write([]byte(claims.Subject))
	digest := base64.RawURLEncoding.EncodeToString(mac.Sum(nil))[:22]
	at, ok := r.users[digest].(float64)
	return ok && !claims.Issued.After(atSeconds(at))
}

func readKeys(body []byte) (map[string]*rsa.PublicKey, error) {
	var set struct {
		Keys []struct{ Kty, Use, Kid, N, E string }
	}
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, err
	}
	keys := map[string]*rsa.PublicKey{}
	for _, each := range set.Keys {
		if each.Kty != "RSA" || (each.Use != "" && each.Use != "sig") {
			continue
		}
		n, errN := base64.RawURLEncoding.DecodeString(each.N)
		e, errE := base64.RawURLEncoding.DecodeString(each.E)
		if errN != nil || errE != nil || len(e) > 4 {
			return nil, fmt.Errorf("the key %q is damaged", each.Kid)
		}
		keys[each.Kid] = &rsa.PublicKey{
			N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64()),
		}
	}
	if set.Keys == nil {
		return nil, errors.New("the answer is no key set")
	}
	return keys, nil
}

// candidates are the keys that may have signed a token. Without a kid, as in tokens of old servers, that is any key.
func candidates(keys map[string]*rsa.PublicKey, kid any) []*rsa.PublicKey {
	var found []*rsa.PublicKey
	for name, key := range keys {
		if kid == nil || kid == name {
			found = append(found, key)
		}
	}
	return found
}

// headerOf returns the header, which is not verified yet.
func headerOf(token string) (map[string]any, error) {
	part, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(part)
	var header map[string]any
	if err != nil || json.Unmarshal(text, &header) != nil || header == nil {
		return nil, &TokenRefused{Malformed}
	}
	return header, nil
}

// typeName removes the prefix that a typ may omit, and its case, which does not matter (RFC 7515 section 4.1.9).
func typeName(typ any) string {
	return strings.TrimPrefix(strings.ToLower(fmt.Sprint(typ)), "application/")
}

func isAmong(claim any) func(string) bool {
	return func(audience string) bool {
		list, isList := claim.([]any)
		return claim == audience || (isList && slices.Contains(list, any(audience)))
	}
}

// textsOf returns a list of strings; an absent one is empty.
func textsOf(claim any) (texts []string, ok bool) {
	if claim == nil {
		return nil, true
	}
	list, ok := claim.([]any)
	for _, each := range list {
		text, isText := each.(string)
		ok = ok && isText
		texts = append(texts, text)
	}
	return texts, ok
}

func atSeconds(seconds float64) time.Time {
	return time.UnixMilli(int64(seconds * 1000))
}

// RFC 6750 section 2.1; the scheme's letter case does not count.
var bearer = regexp.MustCompile(`^(?i:bearer) +([\w.~+/-]+=*)$`)

type claimsKey struct{}

// ClaimsOf returns the claims of a request that Demand or Authorize has passed on, or nil.
func ClaimsOf(ctx context.Context) *Claims {
	claims, _ := ctx.Value(claimsKey{}).(*Claims)
	return claims
}

// A Denial is the answer to a request that must not pass, by RFC 6750 section 3.
type Denial struct {
	// Status is 401 without a valid token, 403 without the role, and 503 if the token cannot be checked.
	Status int
	// Header is WWW-Authenticate or Retry-After, Value its value.
	Header, Value string
	// Message is for people.
	Message string
}

// Authorize verifies the token of an Authorization header and, if roles are given, that the user has one of them. It
// returns a context with the claims, for ClaimsOf, or else a Denial.
func (v *Verifier) Authorize(ctx context.Context, authorization string, roles ...string) (context.Context, *Denial) {
	unauthorized := func(challenge, message string) *Denial {
		return &Denial{http.StatusUnauthorized, "WWW-Authenticate", challenge, message}
	}
	found := bearer.FindStringSubmatch(authorization)
	if found == nil {
		return nil, unauthorized("Bearer", "a token is required")
	}
	claims, err := v.Verify(found[1])
	var refusal *TokenRefused
	switch {
	case errors.As(err, &refusal) && refusal.Outage():
		return nil, &Denial{http.StatusServiceUnavailable, "Retry-After", "5", "the token cannot be checked"}
	case err != nil:
		return nil, unauthorized(`Bearer error="invalid_token"`, "the token is refused")
	case len(roles) > 0 && !slices.ContainsFunc(roles, func(role string) bool { return slices.Contains(claims.Roles, role) }):
		challenge := `Bearer error="insufficient_scope"`
		return nil, &Denial{http.StatusForbidden, "WWW-Authenticate", challenge, "the user lacks the role"}
	}
	return context.WithValue(ctx, claimsKey{}, claims), nil
}

// Demand returns a handler that passes requests with a valid token on to next; if roles are given, the user must have
// one of them. It answers all others by their Denial.
func (v *Verifier) Demand(next http.Handler, roles ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, denial := v.Authorize(r.Context(), r.Header.Get("Authorization"), roles...)
		if denial != nil {
			w.Header().Set(denial.Header, denial.Value)
			w.WriteHeader(denial.Status)
			return
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
