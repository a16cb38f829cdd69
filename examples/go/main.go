// A shop's backend in Go: it has no login code, and knows its user from the headers that Menshen sets.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

type answer struct {
	User  *string         `json:"user"`
	App   *string         `json:"app"`
	Order json.RawMessage `json:"order,omitempty"`
}

func who(r *http.Request) answer {
	if claims := asserted(r); claims != nil {
		return answer{User: &claims.Subject, App: &claims.App}
	}
	// The rule of WeChat Cloud Run: only a request with a source is somebody's.
	if r.Header.Get("X-WX-SOURCE") == "" {
		return answer{}
	}
	user, app := r.Header.Get("X-WX-OPENID"), r.Header.Get("X-Menshen-App")
	return answer{User: &user, App: &app}
}

func orders(w http.ResponseWriter, r *http.Request) {
	answer := who(r)
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err != nil || !json.Valid(body) {
			body = []byte("null")
		}
		answer.Order = body
	}
	show(w, answer)
}

func headers(w http.ResponseWriter, r *http.Request) {
	pairs := [][2]string{}
	for name, values := range r.Header {
		for _, value := range values {
			pairs = append(pairs, [2]string{name, value})
		}
	}
	show(w, pairs)
}

func show(w http.ResponseWriter, value any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(value); err != nil {
		log.Print(err)
	}
}

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/orders", orders)
	mux.HandleFunc("/headers", headers)
	var handler http.Handler = mux
	// With assertions, nobody but Menshen can say who the user is, even if others reach this server.
	if jwks := os.Getenv("MENSHEN_JWKS"); jwks != "" {
		handler = checkAssertions(jwks, os.Getenv("MENSHEN_AUDIENCE"), mux)
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "3000"
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("listening on %s\n", listener.Addr())
	log.Fatal(http.Serve(listener, handler))
}
