// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// registration is what register has done.
type registration struct {
	Record state.Record `json:"record"`
	// Replaced are the registrations that this one took the place of, by name.
	Replaced []string `json:"replaced"`
	// SharedWith are the attachments that CNI has recorded of the same namespace.
	SharedWith    []state.Attachment `json:"sharedWith"`
	ReaperRunning bool               `json:"reaperRunning"`
	Notes         []string           `json:"notes"` // what else there is to know
}

func (r *registration) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func registerCommand(e *env) *cobra.Command {
	var name string
	var allowHost bool
	cmd := &cobra.Command{
		Use:   "register NETNS",
		Short: "Register a network namespace that no CNI plugin records",
		Long: `Register a network namespace by hand, for containers that are created without CNI. Its
half-closed sockets are then found and destroyed as those of any attachment, until
"halfclose unregister", the end of the namespace or a reboot.

NETNS is the path of a namespace, the id of a process in it, or its name under
/run/netns. A path under /proc is good while the process lives. If the process exits
and the namespace stays, other registrations of the namespace only observe from then on.

Registering a namespace again replaces the policy. If CNI has recorded it as well, each
socket gets the more conservative verdict of both policies.`,
		Example: `  halfclose register web    # /run/netns/web, with the usual policy
  halfclose register web --mode observe --grace 2m    # destroy nothing yet
  halfclose register web --grace never    # end only what has lost its peer
  halfclose register $(docker inspect -f '{{.State.Pid}}' web) --name web
  halfclose register /run/docker/netns/1a2b --exempt '[{"peerPorts": "5432"}]'
  halfclose register web --rules '[{"match": {"uids": "0"}, "mode": "off"}]'`,
		Args: oneNetns,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return completeNetns(cmd, args, toComplete)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := e.checkStateDir(); err != nil {
				return err
			}
			layer, err := layerFrom(cmd.Flags())
			if err != nil {
				return err
			}
			r, err := e.register(cmd.Context(), args[0], cmd.Flags().Changed("name"), state.Record{
				Attachment: state.ManualAttachment(name), Layers: policy.Layers{Network: layer, PodOverrides: policy.OverridesNone},
			}, allowHost)
			if err != nil {
				return err
			}
			e.afterRegister(cmd.Context(), &r, allowHost)
			return e.printRegistration(r, func(key string) string { return "--" + flagOf(key, cmd.Flags()) })
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what the registration is called (default: from the path or process id)")
	addPolicyFlags(cmd, policyFlags())
	cmd.Flags().BoolVar(&allowHost, "allow-host-netns", false, "allow the host's own namespace; the reaper needs this flag too")
	e.outputFlag(cmd)
	return cmd
}

// oneNetns checks that a command has its one argument.
func oneNetns(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one NETNS: a path, a process id or a name under %s, not %d arguments", hostfs.NetnsDirs()[0], len(args))
	}
	return nil
}

// register records the namespace that arg names. rec has the policy, and the name if named.
func (e *env) register(ctx context.Context, arg string, named bool, rec state.Record, allowHost bool) (registration, error) {
	where, err := locate(arg, hostfs.NetnsDirs())
	if err != nil {
		return registration{}, err
	}
	h, err := netns.Open(where.path)
	if err != nil {
		return registration{}, explainProcess(where.pid, err)
	}
	defer h.Close()
	r := registration{Replaced: []string{}, SharedWith: []state.Attachment{}, Notes: []string{}} // never null
	if !allowHost {
		owner, doubt, err := whose(h)
		if err == nil && owner != "" {
			err = fmt.Errorf("%s is %s: --allow-host-netns registers it, and the reaper needs that flag too",
				where.path, owner)
		}
		if err != nil {
			return r, err
		}
		if doubt != "" {
			r.note("%s", doubt)
		}
	}
	if pid := processOf(where.path); pid != "" {
		mounted := mountedAt(h.Stat(), hostfs.NetnsDirs())
		switch {
		case mounted == "":
			r.note("the registration lasts as long as process %s", pid)
		case where.pid != "":
			where.path = mounted
		default:
			r.note("the registration lasts as long as process %s: %s is the same namespace and stays", pid, mounted)
		}
	}
	if !named {
		rec.ContainerID = nameOf(where.path)
	}
	if err := rec.CheckName(); err != nil {
		return registration{}, usageError{fmt.Errorf(
			"--name is letters, digits, \"_\", \".\" and \"-\" after a letter or digit, not %q: %w", rec.ContainerID, err)}
	}
	rec.Version, rec.Network, rec.Netns.Path, rec.Time = state.Version, state.ManualNetwork, where.path, time.Now().UTC()
	if rec.Netns.Identity, err = h.Identify(); err != nil {
		return registration{}, err
	}
	if rec.Boot, err = netns.BootID(); err != nil {
		return registration{}, err
	}
	r.Record = rec
	return r, e.put(ctx, &r)
}

// afterRegister says what will become of the registration: the reaper is asked, if one runs.
func (e *env) afterRegister(ctx context.Context, r *registration, allowHost bool) {
	r.ReaperRunning = launch.Running(e.store().SocketPath())
	if !r.ReaperRunning {
		start := "halfclose reaper"
		if e.stateDir != state.DefaultDir {
			start += " --state-dir " + term.Clean(e.stateDir)
		}
		if allowHost {
			start += " --allow-host-netns"
		}
		r.note("no reaper is running: start one with %q", start)
		return
	}
	v, err := e.noticed(ctx, r.Record)
	switch {
	case err != nil:
		r.note("the reaper has not taken notice yet: %v", err)
	case v.Inert != "":
		r.note("the reaper does nothing about it: %s", term.Clean(v.Inert))
	case len(v.CappedBy) > 0:
		r.note("the mode is %s for now, because of %s", v.Mode, term.Clean(strings.Join(v.CappedBy, "; ")))
	}
	if slices.Contains(slices.Collect(maps.Values(v.Sources)), policy.SourceMinGrace) {
		r.note("the reaper's --min-grace is longer than some of these times, and counts: halfclose status shows them")
	}
}

// noticed waits until the reaper works by the record, and returns what it makes of it.
func (e *env) noticed(ctx context.Context, rec state.Record) (view api.AttachmentView, err error) {
	err = e.untilReaper(ctx, func(views []api.AttachmentView) bool {
		for _, v := range views {
			if v.Attachment == rec.Attachment && v.Recorded.Equal(rec.Time) {
				view = v
				return true
			}
		}
		return false
	})
	return view, err
}
