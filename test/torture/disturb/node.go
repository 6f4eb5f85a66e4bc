// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/test/torture/model"
)

// Node is the node under test.
type Node struct {
	Programs   string  // the directory of halfclose and cni/halfclose
	StateDir   string  // of plugin and reaper: a tmpfs of its own
	VarDir     string  // of switches and the history
	PolicyFile string  // followed by the reaper
	Reaper     *Reaper // running when a disturbance begins, and when it is over
	Pods       Pods
	Log        func(format string, args ...any) // a line of the schedule, with the time
}

// Pods registers network namespaces and owns their connections.
type Pods interface {
	// Names lists the namespaces that are registered now, in their order of creation.
	Names() []string
	// Path returns the path of a namespace, and its ID as a container.
	Path(name string) string
	// Add calls the plugin's ADD for an attachment of the namespace. The model knows of it afterwards: the policy was
	// replaced, and its records are whole. If the plugin fails, the error has its output. Add does nothing if the plan has removed
	// the namespace.
	Add(ctx context.Context, name, ifname string, p model.Policy) error
	// Policy returns the policy of an attachment as it was last added.
	Policy(name, ifname string) (model.Policy, bool)
	// Ifnames lists the attachments of a namespace.
	Ifnames(name string) []string
	// Flood registers a namespace of its own with n half-closed connections, which are only observed. end deletes it.
	Flood(ctx context.Context, name string, n int) (end func() error, err error)
	// Vanish deletes the namespace without DEL: its owners exit, and its path is removed.
	Vanish(ctx context.Context, name string) error
	// Pause keeps the plan from calling the plugin until resume is called. Add waits for that too.
	Pause() (resume func())
	// TryAdd is Add with failurePolicy ignore, except that the model does not know of it.
	TryAdd(ctx context.Context, name, ifname string, p model.Policy) error
	// Pod returns the names of the namespace's pod.
	Pod(name string) (namespace, pod string)
	// Site creates a namespace with a loopback, of which the model does not know, and registers it with an attachment for each
	// policy, eth0, eth1 and so on, until remove is called.
	Site(ctx context.Context, name string, policies ...model.Policy) (path string, remove func() error, err error)
}

// Violation is a wrong outcome that a disturbance has seen itself. It is an error of Disturbance.Run that ends no test.
type Violation struct{ What string }

func (v *Violation) Error() string { return v.What }

// client returns a client of the reaper.
func (n *Node) client() *admin.Client {
	return admin.NewClient(filepath.Join(n.StateDir, "reaper.sock"))
}

// attachments returns the directory of the records.
func (n *Node) attachments() string { return filepath.Join(n.StateDir, "attachments") }

// command runs a command of halfclose.
func (n *Node) command(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(n.Programs, "halfclose"), append([]string{"--state-dir", n.StateDir}, args...)...)
	cmd.Env = append(os.Environ(), n.Reaper.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("halfclose %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// choose returns one of the registered namespaces, "" if there is none.
func (n *Node) choose(k int) string {
	names := n.Pods.Names()
	if len(names) == 0 {
		return ""
	}
	return names[k%len(names)]
}

// patience bounds a wait for a condition on a busy machine.
const patience = 2 * time.Minute

// actionDelay is how long the reaper may take, after it has accepted a change, to finish an action that it had begun before.
const actionDelay = time.Second

// await waits until a condition holds.
func await(ctx context.Context, what string, condition func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := condition(ctx)
		if ok && err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w (%w)", what, ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// awaitReaper waits until the reaper that runs now answers, and does its work.
func (n *Node) awaitReaper(ctx context.Context) error {
	client, pid := n.client(), n.Reaper.PID()
	return await(ctx, "the reaper answers", func(ctx context.Context) (bool, error) {
		select {
		case <-n.Reaper.Exited():
			return false, fmt.Errorf("the reaper has exited")
		default:
		}
		if _, err := client.Health(ctx); err != nil {
			return false, err
		}
		s, err := client.Status(ctx)
		return s.Holder.PID == pid, err
	})
}

// awaitStatus waits until the reaper's status is as wanted.
func (n *Node) awaitStatus(ctx context.Context, what string, want func(*api.Status) bool) error {
	client := n.client()
	return await(ctx, what, func(ctx context.Context) (bool, error) {
		s, err := client.Status(ctx)
		return err == nil && want(&s), err
	})
}

// sleep waits for a time.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
