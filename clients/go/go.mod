module latchkey.example/client

go 1.24

require (
	github.com/golang-jwt/jwt/v5 v5.3.0
	golang.org/x/oauth2 v0.30.0
)
