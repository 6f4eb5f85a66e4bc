// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/pkg/finder"
	"github.com/halfclose/halfclose/test/node"
)

// holdCommand is the argument that makes this program a holder: a process that owns sockets in several namespaces, since
// one process may not open as many descriptors as a full node has sockets.
const holdCommand = "hold"

// order is a request to a holder: namespaces, which it creates if they do not exist, with exactly these sockets in each.
type order struct {
	Namespaces []string `json:"namespaces"`
	Sockets    sockets  `json:"sockets"`
	Exist      bool     `json:"exist,omitempty"` // the namespaces exist: another holder, or the benchmark, has created them
	// HalfClose is another request: half-close the established connections of the namespaces within that time.
	HalfClose bool          `json:"halfClose,omitempty"`
	Within    time.Duration `json:"within,omitempty"`
}

// answer is the answer to an order.
type answer struct {
	Error string `json:"error,omitempty"`
	Shut  []shut `json:"shut,omitempty"`
}

// hold carries out orders until EOF. The sockets are closed with the process.
func hold(r io.Reader, w io.Writer) error {
	in, out := json.NewDecoder(r), json.NewEncoder(w)
	held := make(map[string][]int)
	for {
		var o order
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read order: %w", err)
		}
		var a answer
		var err error
		if o.HalfClose {
			a.Shut, err = o.halfClose(held)
		} else {
			err = o.carryOut(held)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

// carryOut carries out an order for sockets. held has the sockets of each existing namespace.
func (o order) carryOut(held map[string][]int) error {
	for _, name := range o.Namespaces {
		if _, ok := held[name]; !ok && !o.Exist {
			if err := makeNamespace(name); err != nil {
				return fmt.Errorf("namespace %s: %w", name, err)
			}
		}
		err := inside(at(name), func() (err error) {
			closeAll(held[name])
			held[name], err = o.Sockets.make()
			return err
		})
		if err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
	}
	return nil
}

// at returns the namespace of this name, without its identity.
func at(name string) finder.Netns {
	return finder.Netns{Paths: []string{filepath.Join(node.NetnsDir, name)}, Interval: time.Hour}
}

// makeNamespace creates a network namespace with nothing but a loopback interface that is up.
func makeNamespace(name string) error {
	path, err := node.AddNetns(name)
	if err != nil {
		return err
	}
	return inside(finder.Netns{Paths: []string{path}}, node.SetLoopbackUp)
}
