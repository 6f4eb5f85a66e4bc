// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package runtimes_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/internal/testnode"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

// haproxyConf has no client-fin and no server-fin timeout, as most configurations.
const haproxyConf = `
defaults
  mode tcp
  timeout connect 10s
  timeout client 1h
  timeout server 1h
listen proxy
  bind :8080
  server s ADDRESS:8080
`

const nginxConf = `
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid DIR/nginx.pid;
error_log stderr;
events {}
stream {
  server {
    listen 8080;
    proxy_pass ADDRESS:8080;
    proxy_half_close on;
    proxy_timeout 1h;
  }
}
`

// proxies tests a proxy between a client that shuts its direction and a server that keeps the connection: both sockets of
// the proxy are half-closed, one in each direction.
func proxies(comm, conf string, args ...string) func(*testing.T, *site) {
	return func(t *testing.T, s *site) {
		client, server := s.run(t, "client", waits()), s.run(t, "server", waits())
		proxy := s.box(t, "proxy", leaks())
		dir := t.TempDir()
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, comm+".conf")
		text := strings.NewReplacer("ADDRESS", server.addr, "DIR", dir).Replace(conf)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var command []string
		for _, arg := range args {
			command = append(command, strings.Replace(arg, "FILE", file, 1))
		}
		proxy.exec(t, comm, command...)
		nstest.Eventually(t, testnode.Patience, "the proxy takes connections", func() bool {
			_, err := client.Order("open", "first", proxy.addr)
			return err == nil
		})
		server.order(t, "wait", "first")

		for _, name := range []string{"busy", "leak"} {
			client.open(t, name, &pod{Client: server.Client, addr: proxy.addr})
			client.order(t, "shut", name)
		}
		server.order(t, "stream", "busy")
		client.order(t, "drain", "busy")

		entries := s.destroyedIn(proxy)
		for _, e := range entries {
			if e.Owners[0].Command != comm {
				t.Errorf("the history says that %v held it", e.Owners)
			}
		}
		nstest.Eventually(t, testnode.Patience, "the server's end of the leak is gone too", func() bool {
			said, err := server.Order("send", "leak", "x")
			return err == nil && said != "ok"
		})
		if got := client.order(t, "recv", "leak"); got != "ECONNRESET" && got != "EOF" {
			t.Errorf("a read at the leak's client returns %q", got)
		}
		s.outlives(t, proxy, inetdiag.CloseWait, policy.Progressing)
		s.outlives(t, proxy, inetdiag.FinWait2, policy.Progressing)
		for _, e := range s.destroyedIn(proxy) {
			if e.RQueue > 1 || e.WQueue > 0 {
				t.Errorf("there was data in what was destroyed: %+v", e)
			}
		}
		before := moved(t, client, "busy")
		nstest.Eventually(t, testnode.Patience, "the busy connection still moves", func() bool { return moved(t, client, "busy") > before })
		client.order(t, "send", "first", "hello")
		if got := server.order(t, "recv", "first"); got != "hello" {
			t.Errorf("on the open connection comes %q", got)
		}
		client.open(t, "again", &pod{Client: server.Client, addr: proxy.addr})
	}
}
