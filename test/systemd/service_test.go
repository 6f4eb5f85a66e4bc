// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package systemd_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/policy"
)

func TestTheServiceIsActiveWhenItHasReadTheRecordsAndAnswers(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.add("early", hold) // recorded before the reaper starts
	m.run("systemctl", "enable", "--now", "halfclose")
	out := m.run("halfclose", "status") // without a wait
	if !strings.Contains(out, "early") {
		t.Errorf("status does not show the attachment:\n%s", out)
	}
	s, err := m.node().Client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if s.Holder.StartedBy != api.BySystemd || len(s.Attachments) != 1 {
		t.Errorf("the reaper is %v and has %d attachments", s.Holder, len(s.Attachments))
	}
	for name, want := range map[string]string{
		"UnitFileState": "enabled", "Type": "notify", "NotifyAccess": "main", "WatchdogUSec": "30s", "Restart": "always",
	} {
		if got := m.property(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestTheSandboxPermitsAProfileThroughTheAPI(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.write("etc/default/halfclose", "HALFCLOSE_METRICS_ADDRESS=127.0.0.1:20470\n")
	m.boot()
	m.run("systemctl", "start", "halfclose")
	const scrape = `exec 3<>/dev/tcp/127.0.0.1/20470; printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3; cat <&3`
	if out := m.run("bash", "-c", scrape); !strings.Contains(out, "\nhalfclose_build_info{") {
		t.Errorf("over TCP the answer is:\n%s", out)
	}
	m.run("halfclose", "mode", "observe")
	if mode := m.status().Mode; mode.Effective != policy.Observe {
		t.Errorf("after halfclose mode observe the mode is %+v", mode)
	}
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.node().Store.SocketPath())
	}
	client := http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	resp, err := client.Get("http://reaper/debug/pprof/profile?seconds=1") // needs a timer and a signal
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if profile, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || len(profile) == 0 {
		t.Errorf("a CPU profile of %d bytes: %s, %v", len(profile), resp.Status, err)
	}
}

func TestTheServiceDestroysInNamespacesThatAreCreatedWhileItRuns(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.boot()
	m.run("systemctl", "start", "halfclose")
	p := m.start(destroy)
	e := m.destroyed(p.Leak)
	if leak, live := p.write(); leak != "ECONNABORTED" || live != "ok" {
		t.Errorf("a write to the leak returns %s, and to the open connection %s", leak, live)
	}
	if e.Pod.Name != "web" {
		t.Errorf("the entry is %+v", e)
	}
	list, err := m.node().Client.Sockets(t.Context(), api.SocketQuery{All: true, Owners: true})
	if err != nil || len(list.Problems) > 0 {
		t.Fatalf("%v %v", err, list.Problems)
	}
	if len(list.Sockets) < 2 { // both ends of the open connection
		t.Errorf("%d sockets are listed", len(list.Sockets))
	}
	for _, v := range list.Sockets {
		if len(v.Owners) != 1 || v.UID != otherUser {
			t.Errorf("%s %s of user %d has the owners %v", v.Local, v.State, v.UID, v.Owners)
		}
	}
	for _, a := range m.status().Attachments {
		if a.Problem != "" {
			t.Error(a.Problem)
		}
	}
}
