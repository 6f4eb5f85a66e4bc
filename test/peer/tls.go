// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package peer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"time"
)

// listenTLS accepts connections over TLS. The peer answers the first line on each, which is its name, with the same
// line, so that its client knows that it has read everything.
func (p *Peer) listenTLS() error {
	certificate, err := newCertificate()
	if err != nil {
		return err
	}
	l, err := listenAt(TLSPort)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			secured := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
			name, err := readName(secured)
			if err == nil {
				_, err = fmt.Fprintln(secured, name)
			}
			if err != nil {
				c.Close()
				continue
			}
			p.add(name, secured)
		}
	}()
	return nil
}

// openTLS opens a TLS connection, sends its name and reads the answer.
func (p *Peer) openTLS(name, addr string) (string, error) {
	c, err := dial(addr, TLSPort)
	if err != nil {
		return "", err
	}
	secured := tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // the test is about how it closes
	if _, err := fmt.Fprintln(secured, name); err != nil {
		return "", err
	}
	if _, err := readName(secured); err != nil {
		return "", fmt.Errorf("read the answer over TLS: %w", err)
	}
	p.add(name, secured)
	return c.LocalAddr().String(), nil
}

// newCertificate creates a key and a self-signed certificate.
func newCertificate() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
