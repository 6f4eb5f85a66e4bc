// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
)

const (
	// held is the number of connections that a program keeps open.
	held = 3
	// idleTimeout is the time after which servers close an idle connection.
	idleTimeout = 2 * time.Second
	// upload is the length of a POST.
	upload = 20_000_000
)

// website is an HTTP server at the peer.
type website struct {
	url  string
	port uint16
	ca   string // the file with its certificate, "" without TLS
	idle *idleConns
}

// idleConns are the connections of a server that wait for a request.
type idleConns struct {
	mu    sync.Mutex
	conns map[net.Conn]bool
}

// track is a server's ConnState hook.
func (c *idleConns) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if state == http.StateIdle {
		c.conns[conn] = true
	} else {
		delete(c.conns, conn)
	}
}

// closeIdle closes the connections that have been idle for idleTimeout since the program was ready: while a program is
// still starting, none of its connections is closed. Over HTTP/2 the server does that on its own.
func (w website) closeIdle() {
	<-time.After(idleTimeout)
	w.idle.mu.Lock()
	defer w.idle.mu.Unlock()
	for conn := range w.idle.conns {
		conn.Close()
	}
}

// transport is the transport of an HTTP server.
type transport struct {
	name     string
	version  uint16 // of TLS, 0 without
	protocol string // of ALPN; "" for HTTP/1.1
	farewell string // sent before the server closes a connection
	upload   int    // the length of a POST, 0 for upload
}

// farewell408 is the response that servers send before they close an idle connection.
const farewell408 = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

// partingListener accepts connections that send a farewell when the server closes them.
type partingListener struct {
	net.Listener
	farewell string
}

// Accept implements net.Listener.
func (l partingListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &partingConn{Conn: conn, farewell: l.farewell}, nil
}

type partingConn struct {
	net.Conn
	farewell string
	parted   sync.Once
}

// Close implements net.Conn.
func (c *partingConn) Close() error {
	c.parted.Do(func() { _, _ = io.WriteString(c.Conn, c.farewell) }) // the peer may have gone
	return c.Conn.Close()
}

// serveHTTP serves HTTP at the peer until the test ends. It announces a long keep-alive time, on which programs rely;
// closeIdle closes the connections.
func (s *stage) serveHTTP(over transport) website {
	s.Helper()
	var l net.Listener = s.peer.ListenAt(s, nstest.LinkB+":0")
	if over.farewell != "" {
		l = partingListener{l, over.farewell}
	}
	site := website{url: "http://" + l.Addr().String(), port: uint16(l.Addr().(*net.TCPAddr).Port), idle: &idleConns{conns: map[net.Conn]bool{}}}
	if over.version != 0 {
		certificate, file := s.certificate()
		protocol := cmp.Or(over.protocol, "http/1.1")
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{certificate}, MaxVersion: over.version, NextProtos: []string{protocol}})
		site.url, site.ca = "https://"+l.Addr().String(), file
	}
	var together sync.WaitGroup
	together.Add(held)
	length := int64(cmp.Or(over.upload, upload))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /together", func(w http.ResponseWriter, r *http.Request) {
		together.Done()
		together.Wait() // so that each request has a connection of its own
		if r.ProtoMajor == 1 {
			w.Header().Set("Keep-Alive", "timeout=600")
		}
		_, _ = io.WriteString(w, "together\n") // the client reports its result
	})
	mux.HandleFunc("POST /upload", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil || n != length {
			http.Error(w, fmt.Sprintf("%d bytes of %d: %v", n, length, err), http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, "uploaded\n")
	})
	server := &http.Server{Handler: mux, ConnState: site.idle.track}
	if over.protocol == "h2" {
		server.ConnState, server.IdleTimeout = nil, idleTimeout
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	s.Cleanup(func() {
		if err := server.Close(); err != nil {
			s.Error(err)
		}
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			s.Error(err)
		}
	})
	return site
}

// certificate creates a self-signed certificate for the peer's address, and returns it and its file.
func (s *stage) certificate() (tls.Certificate, string) {
	s.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"}, IPAddresses: []net.IP{net.ParseIP(nstest.LinkB)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		s.Fatal(err)
	}
	file := filepath.Join(s.dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		s.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

// serve calls handle for each connection to an address until the test ends; the connection is closed then.
func (s *stage) serve(ns *nstest.NS, address string, handle func(conn *net.TCPConn)) (port uint16) {
	s.Helper()
	l := ns.ListenAt(s, address)
	var handlers sync.WaitGroup
	var mu sync.Mutex
	var conns []net.Conn
	handlers.Go(func() {
		for {
			conn, err := l.AcceptTCP()
			if err != nil {
				return // the test has ended
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			handlers.Go(func() { defer conn.Close(); handle(conn) })
		}
	})
	s.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		handlers.Wait()
	})
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

// serveEcho serves lines: it returns each, and closes connections that are idle for idleTimeout.
func (s *stage) serveEcho() (port uint16) {
	s.Helper()
	return s.serve(s.peer, nstest.LinkB+":0", func(conn *net.TCPConn) {
		b := make([]byte, 100)
		for {
			if err := conn.SetReadDeadline(time.Now().Add(idleTimeout)); err != nil {
				return
			}
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			if _, err := conn.Write(b[:n]); err != nil {
				return
			}
		}
	})
}
