// Checks X-Menshen-Assertion: middleware for handlers that only users may call.
package main

import (
	"context"
	"net/http"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
)

type claims struct {
	Subject string `json:"sub"`
	App     string `json:"app"`
}

type claimsKey struct{}

func checkAssertions(jwks, audience string, next http.Handler) http.Handler {
	// The keys are kept, and fetched again for an unknown kid.
	client := oidc.ClientContext(context.Background(), &http.Client{Timeout: 5 * time.Second})
	checks := &oidc.Config{ClientID: audience, SupportedSigningAlgs: []string{oidc.ES256}}
	verifier := oidc.NewVerifier("menshen", oidc.NewRemoteKeySet(client, jwks), checks)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var who claims
		token, err := verifier.Verify(r.Context(), r.Header.Get("X-Menshen-Assertion"))
		if err != nil || token.Claims(&who) != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), claimsKey{}, &who)))
	})
}

func asserted(r *http.Request) *claims {
	who, _ := r.Context().Value(claimsKey{}).(*claims)
	return who
}
