// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package report_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/halfclose/halfclose/internal/outputtest"
	"github.com/halfclose/halfclose/pkg/report"
)

func TestABundleHasItsFilesAndSaysWhatItLacks(t *testing.T) {
	var out bytes.Buffer
	var a report.Addresses
	b := report.NewBundle(&out, "report", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), a.Redact)
	if err := errors.Join(b.Add("status.json", []byte(`{"peer":"10.1.2.3:443"}`)), b.Add("empty", nil)); err != nil {
		t.Fatal(err)
	}
	b.Omit("metrics.txt", "no answer from\n10.1.2.3")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	got := outputtest.Unpack(t, &out)
	want := map[string]string{
		"report/status.json": `{"peer":"addr-1:443"}`, "report/empty": "",
		"report/README.txt": "Written by \"halfclose report\" at 2026-03-01T12:00:00Z.\n\nFiles:\n  status.json (21 bytes)\n  empty (0 bytes)\n\n" +
			"Left out:\n  metrics.txt: no answer from addr-1\n",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// failing is a full disk.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAFullDiskIsAnError(t *testing.T) {
	b := report.NewBundle(failing{}, "report", time.Now(), nil)
	err := b.Add("a", bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
	if err = errors.Join(err, b.Close()); err == nil || !strings.Contains(err.Error(), "no space left on device") {
		t.Errorf("error %v", err)
	}
}

func TestSecretsOfForeignPluginsAreRedacted(t *testing.T) {
	const conf = `{"cniVersion": "1.0.0", "name": "pods", "etcd_key": "KEY", "plugins": [
		{"type": "calico", "mtu": 1440, "kubernetes": {"kubeconfig": "/etc/kube", "k8s_auth_token": "TOKEN"}, "policy": {"type": "k8s", "password": "PASSWORD"},
		 "ipam": {"type": "calico-ipam", "ranges": [[{"subnet": "10.0.0.0/16", "secret": 7}]]}, "capabilities": {"portMappings": true, "x": {"a": "HIDDEN"}}},
		{"type": "halfclose", "grace": "10m", "rules": [{"match": {"commands": ["envoy"]}}]},
		{"type": "portmap", "capabilities": {"portMappings": true}}]}`
	text, keys, err := report.NetworkConf([]byte(conf), "halfclose")
	if err != nil || !json.Valid(text) {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, secret := range []string{"KEY", "TOKEN", "PASSWORD", "HIDDEN", "/etc/kube"} {
		if strings.Contains(strings.ReplaceAll(string(text), "REDACTED", ""), secret) {
			t.Errorf("%s is in it:\n%s", secret, text)
		}
	}
	for _, kept := range []string{`"calico"`, "1440", "10.0.0.0/16", `"grace": "10m"`, "envoy", `"portMappings": true`, `"cniVersion": "1.0.0"`} {
		if !strings.Contains(string(text), kept) {
			t.Errorf("%s is not in it:\n%s", kept, text)
		}
	}
	want := []string{"etcd_key", "plugins[0].capabilities", "plugins[0].ipam.ranges[0][0].secret", "plugins[0].kubernetes", "plugins[0].policy"}
	if diff := cmp.Diff(want, keys); diff != "" {
		t.Errorf("keys (-want +got)\n%s", diff)
	}
	for _, bad := range []string{"", "{", "[]", `"token"`, "token: x"} {
		if text, _, err := report.NetworkConf([]byte(bad), "halfclose"); err == nil || len(text) > 0 {
			t.Errorf("%q: %q, %v", bad, text, err)
		}
	}
}

func TestAddressesAreReplacedByTheSameName(t *testing.T) {
	var a report.Addresses
	for _, step := range []struct{ text, want string }{
		{"10.0.0.1:80 to 10.0.0.2:443", "addr-1:80 to addr-2:443"},
		{"10.0.0.2/16, [fd00::1]:443, ::ffff:10.0.0.1.", "addr-2/16, [addr-3]:443, addr-1."},
		{`{"a":"fe80::1%eth0","fd00:0::1":1}`, `{"a":"addr-4%eth0","addr-3":1}`},
		{"aa:BB:cc:00:11:22 and aa:bb:cc:00:11:22:", "mac-1 and mac-1:"},
		{"127.0.0.1 ::1 0.0.0.0 ::", "127.0.0.1 ::1 0.0.0.0 ::"},
		{"2026-03-01T12:34:56Z 12:34:56 v1.2.3 999.1.1.1", "2026-03-01T12:34:56Z 12:34:56 v1.2.3 999.1.1.1"},
	} {
		if got := string(a.Redact([]byte(step.text))); got != step.want {
			t.Errorf("%q becomes %q, want %q", step.text, got, step.want)
		}
	}
}

func FuzzNetworkConf(f *testing.F) {
	f.Add([]byte(`{"plugins": [{"type": "x", "token": "SECRET"}, {"type": "halfclose"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		text, _, err := report.NetworkConf(data, "halfclose")
		if (err == nil) != json.Valid(text) {
			t.Errorf("%q: %q, %v", data, text, err)
		}
	})
}

// A text without addresses stays the same, and a second pass changes nothing.
func FuzzAddresses(f *testing.F) {
	f.Add("10.0.0.1:80 fd00::1 aa:bb:cc:dd:ee:ff ::ffff:1.2.3.4")
	f.Fuzz(func(t *testing.T, text string) {
		var a report.Addresses
		once := a.Redact([]byte(text))
		if strings.Contains(string(once), "10.0.0.1") && !strings.Contains(text, "10.0.0.1") {
			t.Errorf("%q becomes %q", text, once)
		}
	})
}
