// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package disturb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/test/torture/model"
)

// policyFiles edit the node's policy file. While it is wrong or gone, its last good content is in force.
func policyFiles() []Maker {
	return []Maker{
		maker("policy-file-observes", 2, 5*time.Second, func(r *rand.Rand) run {
			lasts := between(r, 0, 3*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.editPolicyFile(ctx, lasts, "version: 1\npods:\n  - name: torture\n    match: {pod: \"*\"}\n    enforce: {mode: observe}\n")
			}
		}),
		maker("policy-file-wrong", 2, 4*time.Second, func(r *rand.Rand) run {
			content, lasts := wrongPolicyFiles()[r.IntN(len(wrongPolicyFiles()))], between(r, 0, 3*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.breakPolicyFile(ctx, lasts, func() error { return n.writePolicyFile(content) })
			}
		}),
		maker("policy-file-gone", 2, 4*time.Second, func(r *rand.Rand) run {
			lasts := between(r, 0, 3*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.breakPolicyFile(ctx, lasts, func() error { return os.Remove(n.PolicyFile) })
			}
		}),
		maker("policy-file-is-a-fifo", 1, 4*time.Second, func(r *rand.Rand) run {
			lasts := between(r, 0, 3*time.Second)
			return func(ctx context.Context, n *Node) ([]model.Effect, error) {
				return n.breakPolicyFile(ctx, lasts, func() error {
					return errors.Join(os.Remove(n.PolicyFile), unix.Mkfifo(n.PolicyFile, 0o600))
				})
			}
		}),
	}
}

// wrongPolicyFiles are contents that do not count.
func wrongPolicyFiles() []string {
	return []string{
		"",
		"version: 1\ndefaults: {grace: 1",
		"version: 1\ndefaults: {grace: soon}\n",
		"version: 2\n",
		"version: 1\npods:\n  - match: {pod: \"*\"}\n    enforce: {mode: of}\n",
		strings.Repeat("a", 300<<10),
		"\x00\x01\x02",
	}
}

// writePolicyFile replaces the policy file atomically.
func (n *Node) writePolicyFile(content string) error {
	tmp := filepath.Join(filepath.Dir(n.PolicyFile), ".policy.tmp")
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, n.PolicyFile)
}

// replacePolicyFile replaces the policy file, and waits until the reaper has its content in force.
func (n *Node) replacePolicyFile(ctx context.Context, content string) error {
	if err := n.writePolicyFile(content); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(content))
	return n.awaitStatus(ctx, "the policy file is in force", func(s *api.Status) bool {
		f := &s.PolicyFile
		return f.State == api.PolicyFileInForce && f.SHA256 != "" && strings.HasPrefix(hex.EncodeToString(sum[:]), f.SHA256)
	})
}

// editPolicyFile gives the policy file a content for a time with which every pod is observed.
func (n *Node) editPolicyFile(ctx context.Context, lasts time.Duration, content string) ([]model.Effect, error) {
	before, err := os.ReadFile(n.PolicyFile)
	if err != nil {
		return nil, err
	}
	since := model.Now()
	if err := n.replacePolicyFile(ctx, content); err != nil {
		return nil, err
	}
	from := model.Now() + actionDelay
	if err := sleep(ctx, actionDelay+lasts); err != nil {
		return nil, err
	}
	to := model.Now()
	if err := n.replacePolicyFile(ctx, string(before)); err != nil {
		return nil, err
	}
	until := model.Now() + actionDelay
	return []model.Effect{
		{Kind: model.Observed, Since: since, From: from, To: to, Until: until},
		{Kind: model.Down, Since: since, From: until, To: since, Until: until},
	}, nil
}

// breakPolicyFile makes the policy file wrong for a time. This has no effect on any verdict.
func (n *Node) breakPolicyFile(ctx context.Context, lasts time.Duration, spoil func() error) ([]model.Effect, error) {
	before, err := os.ReadFile(n.PolicyFile)
	if err != nil {
		return nil, err
	}
	if err := spoil(); err != nil {
		return nil, err
	}
	err = n.awaitStatus(ctx, "the reaper reports the wrong policy file", func(s *api.Status) bool {
		return s.PolicyFile.State == api.PolicyFileLastGood
	})
	if err := errors.Join(err, sleep(ctx, lasts)); err != nil {
		return nil, err
	}
	if err := os.Remove(n.PolicyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, n.replacePolicyFile(ctx, string(before))
}
