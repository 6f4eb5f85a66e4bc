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

// left shows what has survived, and why.
func (d *demo) left(ctx context.Context) error {
	var views map[string]api.SocketView
	err := nstest.Retry(10*time.Second, func() (err error) {
		if views, err = d.views(ctx, api.SocketQuery{All: true}); err != nil {
			return err
		}
		for _, end := range []string{atClient, atServer} {
			v := views[busy+end]
			if v.Age == nil || time.Duration(*v.Age) < serverGrace {
				return fmt.Errorf("busy%s is not yet past the graces", end)
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
		claim{"busy is spared at the client, half-closed for longer than any grace: it makes progress", want(policy.Progressing, views[busy+atClient].Verdict)},
		claim{"busy is spared at the server, for the same reason", want(policy.Progressing, views[busy+atServer].Verdict)},
		claim{"quiet is spared: it is ESTAB, and not half-closed", errors.Join(now.is(quiet, atServer, "ESTAB"), want(policy.NotHalfClosed, views[quiet+atServer].Verdict))},
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
	answer, err := p.Tell("moved", busy)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(answer)
}

// talks returns an error unless a line gets through on quiet.
func (d *demo) talks() error {
	sent, err := d.client.process.Tell("send", quiet, "hello")
	if err != nil {
		return err
	}
	got, err := d.server.process.Tell("recv", quiet)
	return errors.Join(err, want("ok", sent), want("hello", got))
}

// detach ends the containers, and then the reaper, and shows that nothing of them is left.
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
	d.sayf("  all processes have ended, and with them their connections")
	for _, c := range d.containers() {
		if err := d.cni.DelNetworkList(ctx, d.network, c.runtime); err != nil {
			return fmt.Errorf("DEL %s: %w", c.name, err)
		}
		if err := node.DeleteNetns(c.name); err != nil {
			return err
		}
		d.sayf("  DEL for %s, and its namespace loses its name", c.name)
	}
	d.sayf("")
	if err := d.check(
		claim{"no record is left", empty(d.store.AttachmentsDir())},
		claim{"the reaper has noticed", nstest.Retry(5*time.Second, func() error { return d.forgotten(ctx) })},
		claim{"the kernel has freed all namespaces, although the reaper runs", nstest.Retry(30*time.Second, func() error { return freed(ids) })},
		claim{"no veth is left", noVeths()},
		claim{"no address is left with host-local", noAddresses("/var/lib/cni/networks/pods")},
		claim{"no result is left with libcni", empty("/var/lib/cni/results")},
	); err != nil {
		return err
	}
	if err := unix.Kill(s.Holder.PID, unix.SIGTERM); err != nil {
		return fmt.Errorf("end the reaper: %w", err)
	}
	if err := d.check(
		claim{"the reaper ends when it is told to (by itself after five minutes without containers)", nstest.Retry(10*time.Second, onlyUs)},
		claim{"its socket is gone", gone(d.store.SocketPath())},
	); err != nil {
		return err
	}
	d.sayf("\nWhat stays in its directory until a reboot: the lock's file, the log and an empty file of candidates.\n")
	return d.show(exec.Command("find", d.store.Dir(), "-printf", `%M %4s %p\n`))
}

// ended returns an error if a connection still waits for the other end's word.
func (d *demo) ended() error {
	now, err := d.sockets()
	for name, state := range now.states {
		if state != "TIME-WAIT" && state != "FIN-WAIT-2" {
			err = errors.Join(err, fmt.Errorf("%s is in %s", name, state))
		}
	}
	return err
}

// forgotten returns an error unless the reaper knows of no attachment.
func (d *demo) forgotten(ctx context.Context) error {
	s, err := d.reaper.Status(ctx)
	return errors.Join(err, want(0, len(s.Attachments)), want(0, s.Namespaces))
}

// empty returns an error if there is anything in a directory.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("in %s there is %s", dir, entries[0].Name())
	}
	return err
}

// noNamespaces returns an error if a container's namespace still lives: as long as one does, the kernel
// keeps the id that the node's namespace knows it by.
func noNamespaces() error {
	out, err := output(exec.Command("ip", "netns", "list-id"))
	return errors.Join(err, want("", strings.TrimSpace(out)))
}

// noVeths returns an error if there is a veth on the node.
func noVeths() error {
	out, err := output(exec.Command("ip", "-brief", "link", "show", "type", "veth"))
	return errors.Join(err, want("", strings.TrimSpace(out)))
}

// noAddresses returns an error if there is a file named as an address is: host-local has one for each.
func noAddresses(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "[0-9]*"))
	if err == nil && len(files) > 0 {
		err = fmt.Errorf("there is %s", files[0])
	}
	return err
}

// onlyUs returns an error if there is any process on the node but its first one and this.
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
		return fmt.Errorf("there is process %d, %s", pid, strings.TrimSpace(string(comm)))
	}
	return nil
}
