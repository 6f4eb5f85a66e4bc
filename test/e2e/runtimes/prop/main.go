// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

// Command prop is what the suites put beside halfclose: a container's process, and the plugins around it.
//
//	prop pause   waits to be ended, as the process does that holds a pod's namespaces
//	prop peer    is a peer (package peer), which takes orders on a socket in its network namespace
//
// As a CNI plugin it passes on what it gets, and notes how it was called.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/test/e2e/runtimes/record"
	"github.com/halfclose/halfclose/test/peer"
)

func main() {
	err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "prop:", err)
		os.Exit(1)
	}
}

func run() error {
	if os.Getenv("CNI_COMMAND") != "" {
		return record.Plugin(os.Stdin, os.Stdout)
	}
	switch strings.Join(os.Args[1:], " ") {
	case "pause":
	case "peer":
		if err := servePeer(); err != nil {
			return err
		}
	default:
		return errors.New("usage: prop pause | prop peer")
	}
	// A signal without a handler does not kill the first process of a container.
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM, unix.SIGINT)
	<-end
	return nil
}

// servePeer takes orders from processes in the network namespace, on an abstract socket.
func servePeer() error {
	p, err := peer.Listen("peer")
	if err != nil {
		return err
	}
	l, err := net.Listen("unix", peer.Socket)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_ = p.Serve(c, c) // the client has disconnected
			}()
		}
	}()
	return nil
}
