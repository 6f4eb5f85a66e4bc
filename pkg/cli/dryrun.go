// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/flagvalue"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// modeFlags are the flags of halfclose mode.
type modeFlags struct {
	pods   api.PodQuery
	lasts  flagvalue.Duration
	reason string
	who    string
	dryRun bool
}

func (f *modeFlags) add(e *env, cmd *cobra.Command) {
	e.podFlags(cmd, &f.pods, "the switch")
	cmd.Flags().Lookup("all-namespaces").Hidden = true // the node's switch
	cmd.Flags().Var(&f.lasts, "for", "observe for `DURATION`, such as 2h or 1d; then the switch ends on its own")
	cmd.Flags().StringVar(&f.reason, "reason", "", "`TEXT` for other operators, shown with the switch")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "with destroy: only print what would be destroyed and asked at once")
	cmd.Flags().StringVar(&f.who, "who", "", "`NAME` of the operator, shown with the switch (default: the user)")
	completeOneOf(cmd, "for", "30m", "2h", "1d")
}

// maxReason is the longest --reason, in bytes.
const maxReason = 256

// check checks the flags for a switch, and sets its end.
func (f *modeFlags) check(sw *state.Switch) error {
	switch {
	case sw.Mode == policy.Destroy && f.lasts != 0:
		return cmdline.AsUsage(errors.New("--for needs observe: destroy lifts a switch, and needs no end"))
	case sw.Mode == policy.Destroy && f.reason != "":
		return cmdline.AsUsage(errors.New("--reason needs observe: destroy lifts a switch, and keeps no reason"))
	case sw.Mode != policy.Destroy && f.dryRun:
		return cmdline.AsUsage(errors.New("--dry-run needs destroy: observe destroys nothing"))
	case len(f.who) > maxWhoBytes:
		return cmdline.AsUsage(fmt.Errorf("--who has %d bytes, more than the limit of %d", len(f.who), maxWhoBytes))
	case len(f.reason) > maxReason:
		return cmdline.AsUsage(fmt.Errorf("--reason has %d bytes, more than the limit of %d", len(f.reason), maxReason))
	}
	if f.who != "" {
		sw.Who = f.who
	}
	if f.lasts != 0 {
		sw.Until = sw.When.Add(time.Duration(f.lasts))
	}
	return nil
}

// scope returns the scope that --pod and --namespace name, and whether an attachment is in it. It reads the records, and
// needs no reaper. A name without a namespace is that of the only pod with it, a prefix of a container ID, or the name of
// a registration.
func (e *env) scope(ctx context.Context, q api.PodQuery) (scope state.Scope, known bool, err error) {
	if q.IsZero() {
		return scope, true, nil
	}
	listing, err := e.store().List(ctx)
	if err != nil {
		listing = state.Listing{} // setting a switch must not depend on the records
	}
	name, isWhole := q.Pod, strings.Contains(q.Pod, "/")
	switch {
	case q.Pod == "":
		scope = state.Scope{Namespace: q.Namespace}
	case isWhole:
		scope, err = state.ParseScope(name)
		if err == nil && q.Namespace != "" && q.Namespace != scope.Namespace {
			err = fmt.Errorf("--pod %s is not in --namespace %s", name, q.Namespace)
		}
	case q.Namespace != "":
		scope = state.Scope{Namespace: q.Namespace, Pod: name}
	default:
		scope, err = findScope(listing, name)
	}
	if err == nil {
		err = scope.Check()
	}
	if err != nil {
		return state.Scope{}, false, cmdline.AsUsage(err)
	}
	return scope, slices.ContainsFunc(listing.Records, func(r state.Record) bool { return scope.Covers(r.Pod, r.ContainerID) }), nil
}

// findScope returns the scope of a name without a namespace.
func findScope(listing state.Listing, name string) (state.Scope, error) {
	var found []state.Scope
	for _, rec := range listing.Records {
		scope := state.Scope{ID: rec.ContainerID}
		if rec.Pod.Namespace != "" && rec.Pod.Name != "" {
			scope = state.Scope{Namespace: rec.Pod.Namespace, Pod: rec.Pod.Name}
		}
		if (api.PodQuery{Pod: name}).Covers(rec.Pod, rec.ContainerID) && !slices.Contains(found, scope) {
			found = append(found, scope)
		}
	}
	switch len(found) {
	case 0:
		return state.ParseScope(name)
	case 1:
		return found[0], nil
	}
	names := make([]string, 0, len(found))
	for _, scope := range found {
		names = append(names, scope.ScopeName())
	}
	slices.Sort(names)
	return state.Scope{}, fmt.Errorf("--pod %s matches %s: want namespace/name or a whole container ID", name, strings.Join(names, ", "))
}

// due returns the sockets and peers that a switch to destroy releases; nil for another switch, or if the reaper has no
// answer. After an error there is no need to ask the reaper again.
func (e *env) due(ctx context.Context, client *admin.Client, sw state.Switch) (*api.DryRun, error) {
	if sw.Mode != policy.Destroy {
		return nil, nil
	}
	run, err := client.DryRun(ctx, sw.Scope)
	switch {
	case errors.Is(err, admin.ErrNoAnswer), errors.Is(err, admin.ErrNotRunning):
		return nil, err
	case err != nil:
		return nil, nil // a reaper of another version
	}
	return &run, nil
}

// dryRun prints what a switch to destroy would do at once.
func (e *env) dryRun(ctx context.Context, scope state.Scope) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	run, err := client.DryRun(ctx, scope)
	if err != nil {
		return err
	}
	return e.PrintDryRun(&run, scope)
}
