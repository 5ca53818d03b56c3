// A service with the kit: it demands a token of its callers, and calls each of its PEERS ten times a second
// with its own. /counts tells how that went.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	latchkey "latchkey.example/client"
)

type counts struct {
	mu             sync.Mutex
	Calls          int    `json:"calls"`
	Failed         int    `json:"failed"`
	LastFailure    string `json:"lastFailure"`
	Renewals       int    `json:"renewals"`
	FailedRenewals int    `json:"failedRenewals"`
}

func (c *counts) change(work func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	work()
}

func main() {
	url := getenv("LATCHKEY_URL", "http://127.0.0.1:8080")
	renewAt, _ := strconv.ParseFloat(getenv("RENEW_AT", "0.8"), 64)
	var seen counts
	credentials := latchkey.Static(getenv("LATCHKEY_USERNAME", "TestUser"), getenv("LATCHKEY_PASSWORD", "password"))
	source, err := latchkey.NewTokenSource(url, credentials, latchkey.SourceOptions{
		RenewAt: renewAt,
		OnEvent: func(event string, _ *latchkey.SourceError) {
			switch event {
			case "renewed":
				seen.change(func() { seen.Renewals++ })
			case "failed":
				seen.change(func() { seen.FailedRenewals++ })
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	issuer := getenv("LATCHKEY_ISSUER", "NomicGameManager.Api")
	verifier, err := latchkey.NewVerifier(issuer, url+"/.well-known/jwks.json", latchkey.VerifierOptions{
		RevocationsURL: url + "/.well-known/revocations",
		// How long an outage of Latchkey has no effect.
		RevocationsMaxAge: 2 * time.Minute,
	})
	if err != nil {
		log.Fatal(err)
	}

	hello := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "hello %s", latchkey.ClaimsOf(r.Context()).Subject)
	}
	http.Handle("/", verifier.Demand(http.HandlerFunc(hello)))
	http.HandleFunc("/counts", func(w http.ResponseWriter, _ *http.Request) {
		seen.change(func() { _ = json.NewEncoder(w).Encode(&seen) })
	})

	client := &http.Client{Transport: source.Transport(nil), Timeout: 10 * time.Second}
	for peer := range strings.SplitSeq(os.Getenv("PEERS"), ",") {
		if peer != "" {
			go callForEver(client, peer, &seen)
		}
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+getenv("PORT", "3000"), nil))
}

func callForEver(client *http.Client, peer string, seen *counts) {
	for range time.Tick(100 * time.Millisecond) {
		err := call(client, peer)
		seen.change(func() {
			seen.Calls++
			if err != nil {
				seen.Failed++
				seen.LastFailure = peer + ": " + err.Error()
			}
		})
	}
}

func call(client *http.Client, peer string) error {
	response, err := client.Get(peer)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	return nil
}

func getenv(name, fallback string) string { return cmp.Or(os.Getenv(name), fallback) }
