// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/state"
)

func TestIsAddress(t *testing.T) {
	for _, text := range []string{"", ":20470", ":0", "127.0.0.1:20470", "[::1]:20470", "[fe80::1%eth0]:1", "localhost:65535"} {
		if !isAddress(text) {
			t.Errorf("%q is refused", text)
		}
	}
	for _, text := range []string{"20470", "localhost", "localhost:", ":http", ":-1", ":65536", "::1:20470", "[::1]", "a:b:1", "http://:20470", " :20470 "} {
		if isAddress(text) {
			t.Errorf("%q is accepted", text)
		}
	}
}

// get returns the answer to a request, 0 and "" while no process listens at the address.
func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// The second reaper waits for the first one, and then takes over. Its listener serves the whole time.
func TestAWaitingReaperAnswersThatItIsNotReady(t *testing.T) {
	const soon = 30 * time.Second
	dir := t.TempDir()
	_, stop := startReaper(t, dir)
	nstest.Eventually(t, soon, "the first reaper listens", func() bool { return launch.Running(state.New(dir).SocketPath()) })

	stderr, stopSecond := startReaper(t, dir, "--wait", "--metrics-address", "127.0.0.1:0")
	address := ""
	nstest.Eventually(t, soon, "the second logs its address", func() bool {
		m := regexp.MustCompile(`msg="serving metrics over TCP" address=(\S+)`).FindStringSubmatch(stderr.String())
		if m != nil {
			address = "http://" + m[1]
		}
		return m != nil
	})
	want := fmt.Sprintf(`{"error":"this reaper waits for the lock: another reaper uses this state directory: process %d, started by a command at `, os.Getpid())
	for _, path := range []string{"/healthz", "/metrics"} {
		nstest.Eventually(t, soon, path+" says whom it waits for", func() bool {
			code, body := get(t, address+path)
			return code == http.StatusServiceUnavailable && strings.HasPrefix(body, want)
		})
	}

	if err := stop(); err != nil {
		t.Errorf("the first reaper: %v", err)
	}
	nstest.Eventually(t, soon, "the second is ready", func() bool {
		code, body := get(t, address+"/healthz")
		return code == http.StatusOK && body == `{"status":"ok"}`+"\n"
	})
	if code, body := get(t, address+"/metrics"); code != http.StatusOK || !strings.Contains(body, "\nhalfclose_attachments 0\n") {
		t.Errorf("its metrics: status %d\n%s", code, body)
	}
	if code, body := get(t, address+"/v1/status"); code != http.StatusNotFound {
		t.Errorf("its status over TCP: status %d\n%s", code, body)
	}
	if err := stopSecond(); err != nil {
		t.Errorf("the second reaper: %v: %s", err, stderr)
	}
	if code, _ := get(t, address+"/healthz"); code != 0 {
		t.Errorf("after its exit: status %d", code)
	}
}

// Both reapers have the same flags, as before and after an update.
func TestAWaitingReaperTakesOverTheMetricsAddress(t *testing.T) {
	const soon = 30 * time.Second
	dir := t.TempDir()
	said, stop := startReaper(t, dir, "--metrics-address", "127.0.0.1:0")
	address := ""
	nstest.Eventually(t, soon, "the first reaper is ready", func() bool {
		m := regexp.MustCompile(`msg="serving metrics over TCP" address=(\S+)`).FindStringSubmatch(said.String())
		if m == nil {
			return false
		}
		address = m[1]
		code, _ := get(t, "http://"+address+"/healthz")
		return code == http.StatusOK
	})
	second, _ := startReaper(t, dir, "--wait", "--metrics-address", address)
	nstest.Eventually(t, soon, "the second waits for both", func() bool {
		return strings.Contains(second.String(), "the metrics address is in use") && strings.Contains(second.String(), "waiting for the other reaper")
	})
	if err := stop(); err != nil {
		t.Errorf("the first reaper: %v", err)
	}
	nstest.Eventually(t, soon, "the second answers at the same address", func() bool {
		code, _ := get(t, "http://"+address+"/healthz")
		return code == http.StatusOK
	})
}

// It exits before it asks the other reaper to hand over.
func TestAReaperWhoseMetricsAddressIsInUseLeavesTheOtherReaperRunning(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	err = execute(t.Context(), io.Discard, "--state-dir", dir, "--metrics-address", l.Addr().String())
	want := "listen on the metrics address " + l.Addr().String() + ": "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), "another process, perhaps another reaper, listens there") {
		t.Errorf("it fails with: %v", err)
	}
	if _, err := os.Stat(state.New(dir).LockPath()); !os.IsNotExist(err) {
		t.Errorf("it took the lock: %v", err)
	}
}
