// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/halfclose/halfclose/internal/apitest"
	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/printer"
	"github.com/halfclose/halfclose/pkg/state"
)

// fullNode returns 50,000 half-closed sockets in 250 pods.
func fullNode() api.SocketList {
	var list api.SocketList
	for i := range 50_000 {
		age := time.Duration(i) * time.Second
		list.Sockets = append(list.Sockets, api.SocketView{
			Pod:         state.Pod{Namespace: "payments", Name: fmt.Sprintf("checkout-7d9f8b6c5-%05d", i/200), UID: "8d1b2b0e-93a5-4e52-a1c7-0c2f5e7a9b11"},
			ContainerID: fmt.Sprintf("%064x", i/200), Netns: fmt.Sprintf("/var/run/netns/cni-%036x", i/200),
			Local: fmt.Sprintf("10.244.%d.%d:8443", i/200/250, i/200%250), Peer: fmt.Sprintf("10.244.99.7:%d", 10000+i), State: inetdiag.CloseWait,
			Age: apitest.Seconds(age), Idle: apitest.Seconds(age), RQueue: 1, UID: 1000, Inode: uint32(i + 1), Cookie: uint64(i + 1),
			Verdict: policy.WithinGrace, Mode: policy.Destroy, Why: "half-closed for " + age.String() + " of its 24h grace", Deadline: apitest.Seconds(age),
		})
	}
	return list
}

// BenchmarkSocketsOfAFullNode measures halfclose sockets without the reaper: parsing the answer and printing it.
func BenchmarkSocketsOfAFullNode(b *testing.B) {
	body, err := json.Marshal(fullNode())
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	serveReaper(b, dir, func(w http.ResponseWriter, _ *http.Request) {
		if _, err := w.Write(body); err != nil {
			b.Error(err)
		}
	})
	for _, output := range []string{printer.Table, printer.Wide, printer.JSON} {
		b.Run(output, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				e := &env{Printer: printer.Printer{Out: io.Discard, Getenv: func(string) string { return "" }}, err: io.Discard}
				if code := run(b.Context(), []string{"sockets", "-o", output, "--state-dir", dir}, e); code != cmdline.Success {
					b.Fatalf("exit code %d", code)
				}
			}
		})
	}
}
