// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/internal/nstest"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/test/node"
)

// left shows the remaining connections, and why they were kept.
func (d *demo) left(ctx context.Context) error {
	var views map[string]api.SocketView
	err := nstest.Retry(10*time.Second, func() (err error) {
		if views, err = d.views(ctx, api.SocketQuery{All: true}); err != nil {
			return err
		}
		for _, end := range []string{atClient, atServer} {
			v := views[busy+end]
			if v.Age == nil || time.Duration(*v.Age) < serverGrace {
				return fmt.Errorf("busy%s is not past its grace yet", end)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := d.showSockets(d.client, d.server); err != nil {
		return err
	}
	if err := d.show(d.halfclose("sockets", "--all")); err != nil {
		return err
	}
	now, err := d.sockets()
	if err != nil {
		return err
	}
	return d.check(
		claim{"leaked is gone at both ends", errors.Join(now.hasNot(leaked, atClient), now.hasNot(leaked, atServer))},
		claim{"halfshut is gone at both ends", errors.Join(now.hasNot(halfShut, atClient), now.hasNot(halfShut, atServer))},
		claim{"no TIME_WAIT remains of them", now.noTimeWait()},
		claim{"busy is kept at the client, although half-closed for longer than its grace: bytes still move", want(policy.Progressing, views[busy+atClient].Verdict)},
		claim{"busy is kept at the server, for the same reason", want(policy.Progressing, views[busy+atServer].Verdict)},
		claim{"quiet is kept: it is ESTAB, not half-closed", errors.Join(now.is(quiet, atServer, "ESTAB"), want(policy.NotHalfClosed, views[quiet+atServer].Verdict))},
		claim{"the server still sends on busy", d.moves(d.server.process)},
		claim{"the client still receives on busy", d.moves(d.client.process)},
		claim{"a line sent on quiet arrives", d.talks()},
	)
}

// moves returns an error unless bytes move on busy.
func (d *demo) moves(p *process) error {
	first, err := moved(p)
	if err != nil {
		return err
	}
	return nstest.Retry(5*time.Second, func() error {
		now, err := moved(p)
		if err == nil && now <= first {
			err = fmt.Errorf("no byte moved after %d", first)
		}
		return err
	})
}

func moved(p *process) (int, error) {
	answer, err := p.Order("moved", busy)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(answer)
}

// talks returns an error unless a line sent on quiet arrives.
func (d *demo) talks() error {
	sent, err := d.client.process.Order("send", quiet, "hello")
	if err != nil {
		return err
	}
	got, err := d.server.process.Order("recv", quiet)
	return errors.Join(err, want("ok", sent), want("hello", got))
}

// detach stops the containers and then the reaper, and shows that nothing of them is left.
func (d *demo) detach(ctx context.Context) error {
	s, err := d.reaper.Status(ctx)
	if err != nil {
		return err
	}
	for _, c := range d.containers() {
		if err := c.process.end(); err != nil {
			return err
		}
	}
	if err := nstest.Retry(10*time.Second, d.ended); err != nil {
		return err
	}
	var ids []netns.Identity
	for _, c := range d.containers() {
		id, err := netns.Identify(c.runtime.NetNS)
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	d.printf("  all processes of the containers have exited, which closes their connections")
	for _, c := range d.containers() {
		if err := d.cni.DelNetworkList(ctx, d.network, c.runtime); err != nil {
			return fmt.Errorf("DEL %s: %w", c.name, err)
		}
		if err := node.DeleteNetns(c.name); err != nil {
			return err
		}
		d.printf("  DEL for %s, and its named network namespace is removed", c.name)
	}
	d.printf("")
	if err := d.check(
		claim{"no record is left", empty(d.store.AttachmentsDir())},
		claim{"the reaper has no attachment left", nstest.Retry(5*time.Second, func() error { return d.forgotten(ctx) })},
		claim{"the kernel has freed all network namespaces while the reaper is running: the reaper holds none open", nstest.Retry(30*time.Second, func() error { return freed(ids) })},
		claim{"no veth is left", noVeths()},
		claim{"host-local has no address allocated", noAddresses("/var/lib/cni/networks/pods")},
		claim{"libcni has no cached result", empty("/var/lib/cni/results")},
	); err != nil {
		return err
	}
	if err := unix.Kill(s.Holder.PID, unix.SIGTERM); err != nil {
		return fmt.Errorf("stop the reaper: %w", err)
	}
	if err := d.check(
		claim{"the reaper exits on SIGTERM (on its own, after five minutes without containers)", nstest.Retry(10*time.Second, onlyUs)},
		claim{"its socket is gone", gone(d.store.SocketPath())},
	); err != nil {
		return err
	}
	d.printf("\nThe state directory keeps the lock file, the log and the file of saved candidates until a reboot.\n")
	return d.show(exec.Command("find", d.store.Dir(), "-printf", `%M %4s %p\n`))
}

// ended returns an error if a connection still waits for its peer.
func (d *demo) ended() error {
	now, err := d.sockets()
	for name, state := range now.states {
		if state != "TIME-WAIT" && state != "FIN-WAIT-2" {
			err = errors.Join(err, fmt.Errorf("%s is in %s", name, state))
		}
	}
	return err
}

// forgotten returns an error if the reaper has an attachment.
func (d *demo) forgotten(ctx context.Context) error {
	s, err := d.reaper.Status(ctx)
	return errors.Join(err, want(0, len(s.Attachments)), want(0, s.Namespaces))
}

// empty returns an error if a directory has an entry.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s has %s", dir, entries[0].Name())
	}
	return err
}

// noNamespaces returns an error if a container's network namespace still exists: until it is freed, the kernel keeps the ID
// that the node's namespace has for it.
func noNamespaces() error {
	out, err := output(exec.Command("ip", "netns", "list-id"))
	return errors.Join(err, want("", strings.TrimSpace(out)))
}

// noVeths returns an error if the node has a veth.
func noVeths() error {
	out, err := output(exec.Command("ip", "-brief", "link", "show", "type", "veth"))
	return errors.Join(err, want("", strings.TrimSpace(out)))
}

// noAddresses returns an error if a directory has a file with an address as its name: host-local creates one for each
// address.
func noAddresses(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	if err == nil && len(files) > 0 {
		err = fmt.Errorf("%s exists", files[0])
	}
	return err
}

// onlyUs returns an error if a process other than the first one and this one runs on the node.
func onlyUs() error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || slices.Contains([]int{1, os.Getpid()}, pid) {
			continue
		}
		comm, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		return fmt.Errorf("process %d, %s, is running", pid, strings.TrimSpace(string(comm)))
	}
	return nil
}
