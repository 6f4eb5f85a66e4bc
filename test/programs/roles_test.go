// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package programs_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
)

// playRole runs the test binary as a separate program in Go. It returns the exit code.
func playRole(role string, args []string) int {
	var err error
	switch role {
	case "pool":
		err = playPool(args[0], args[1])
	case "reader":
		err = playReader(args[0])
	case "epoll":
		err = playEpollOwner(args[0])
	default:
		err = fmt.Errorf("there is no role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startRole starts the test binary in a role.
func (s *stage) startRole(ns *nstest.NS, role string, args ...string) *process {
	s.Helper()
	self, err := os.Executable()
	if err != nil {
		s.Fatal(err)
	}
	return s.startWith(ns, []string{roleVar + "=" + role}, append([]string{self}, args...)...)
}

func waitForLine() error {
	_, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err
}

// playPool is a pool of Go's HTTP client: it makes three requests at the same time, prints "ready", and leaves the
// connections in the pool until a line comes. Then it makes three uploads at the same time.
func playPool(url, ca string) error {
	transport := &http.Transport{MaxIdleConnsPerHost: held}
	if ca != "" {
		b, err := os.ReadFile(ca)
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(b)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	}
	client := &http.Client{Transport: transport}
	finish := func(answer *http.Response, err error) error {
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("status %s", answer.Status)
		}
		return nil
	}
	for _, err := range inParallel(func() error { return finish(client.Get(url + "/together")) }) {
		if err != nil {
			return err
		}
	}
	fmt.Println("ready")
	if err := waitForLine(); err != nil {
		return err
	}
	body := bytes.Repeat([]byte("x"), upload)
	for _, err := range inParallel(func() error {
		return finish(client.Post(url+"/upload", "application/octet-stream", bytes.NewReader(body)))
	}) {
		if err != nil {
			fmt.Println(strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Println("ok")
		}
	}
	return nil
}

// inParallel calls do once per held connection, concurrently.
func inParallel(do func() error) []error {
	errs := make([]error, held)
	var all sync.WaitGroup
	for i := range errs {
		all.Go(func() { errs[i] = do() })
	}
	all.Wait()
	return errs
}

// playReader connects, prints "ready", waits for a line on stdin, and then copies all bytes that it receives to stdout.
func playReader(address string) error {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	fmt.Println("ready")
	if err := waitForLine(); err != nil {
		return err
	}
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// epollSockets is the number of sockets of the epoll owner.
const epollSockets = 1000

// playEpollOwner is an owner that frees its state of a socket when it closes it, and relies on close to end the events.
// It polls only for errors and hang-ups, and closes each socket with such an event. For a line on stdin it prints "ok",
// unless it got an event of a closed descriptor.
func playEpollOwner(address string) error {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	line := make(chan error, 1)
	owned := map[int32]int{} // descriptor by id
	for id := range int32(epollSockets) {
		fd, err := connect(address)
		if err != nil {
			return err
		}
		// As with a pointer in epoll_data, the id names the state and not the descriptor.
		if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Fd: id}); err != nil {
			return err
		}
		owned[id] = fd
	}
	fmt.Println("ready")
	go func() { line <- waitForLine() }()
	late := 0
	events := make([]unix.EpollEvent, 64)
	for {
		select {
		case err := <-line:
			if err == nil && late == 0 {
				fmt.Println("ok")
			} else {
				fmt.Printf("%d events of closed descriptors: %v\n", late, err)
			}
			return nil
		default:
		}
		n, err := unix.EpollWait(epoll, events, 20)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			fd, ok := owned[e.Fd]
			if !ok {
				late++
				continue
			}
			delete(owned, e.Fd)
			if err := unix.Close(fd); err != nil {
				return err
			}
		}
	}
}

// connect opens a socket that the Go runtime does not poll.
func connect(address string) (int, error) {
	to, err := net.ResolveTCPAddr("tcp4", address)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())})
}
