// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/halfclose/halfclose/internal/cmdline"
	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/describe"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/launch"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/register"
	"github.com/halfclose/halfclose/pkg/state"
	"github.com/halfclose/halfclose/pkg/term"
)

// registration is the result of register.
type registration struct {
	Record state.Record `json:"record"`
	// Replaced lists the names of the earlier registrations that this one replaces.
	Replaced []string `json:"replaced"`
	// Kept are the keys whose values an earlier registration of the namespace had, and the flags do not set.
	Kept []string `json:"kept,omitempty"`
	// SharedWith lists the attachments of the same namespace that CNI has recorded.
	SharedWith    []state.Attachment `json:"sharedWith"`
	ReaperRunning bool               `json:"reaperRunning"`
	Notes         []string           `json:"notes"`
}

func (r *registration) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// isKept reports whether a value is of an earlier registration. flag is its flag: --grace sets the graces of both states.
func (r *registration) isKept(key, flag string) bool {
	return slices.Contains(r.Kept, key) || flag == "--grace" && slices.Contains(r.Kept, "grace")
}

// registrationName returns the pod of a name NAMESPACE/NAME, and the container ID of a name. The two parts are joined by
// a dot, which a Kubernetes namespace cannot have.
func registrationName(name string) (pod state.Pod, id string) {
	namespace, short, isPod := strings.Cut(name, "/")
	if !isPod || namespace == "" || short == "" || strings.Contains(namespace, ".") || strings.Contains(short, "/") {
		return pod, name
	}
	return state.Pod{Namespace: namespace, Name: short}, namespace + "." + short
}

func registerCommand(e *env) *cobra.Command {
	var name string
	var allowHost, reset, host bool
	cmd := &cobra.Command{
		Use:   "register NETNS | --host",
		Short: "Register a network namespace that no CNI plugin records",
		Long: `Register a network namespace by hand, for containers that are created without
CNI. The reaper then treats it like any attachment, until "halfclose
unregister", the end of the namespace, or a reboot.

NETNS is the path of a namespace, the id of a process in it, or its name under
/run/netns. A path under /proc is valid while the process lives. If the process
exits and the namespace stays, other registrations of the namespace only
observe from then on.

Registering a namespace again changes the values of the flags, and keeps the
others; with --reset these have their defaults. If CNI has recorded the
namespace too, each socket gets the more conservative verdict of both policies.

With --host it registers the host's own namespace, under the name "host". The
reaper needs --allow-host-netns for that. Every daemon of the node has its
sockets there: begin with --mode observe, or spare commands by --rules.

A name such as shop/web-1 makes the registration a pod of that namespace, which
--pod, --namespace and the policy file select.`,
		Example: `  halfclose register web    # /run/netns/web, with the default policy
  halfclose register web --mode observe --grace 2m    # destroy nothing yet
  halfclose register web --reset    # back to the default policy
  halfclose register web --grace never    # only sockets without a peer
  halfclose register $(docker inspect -f '{{.State.Pid}}' web) --name web
  halfclose register /run/docker/netns/1a2b --exempt '[{"peerPorts": "5432"}]'
  halfclose register web --rules '[{"match": {"uids": "0"}, "mode": "off"}]'
  halfclose register --host --mode observe    # report the daemons' leaks
  halfclose register --host --exempt '[{"commands": ["sshd", "etcd"]}]'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if host {
				return noNetns(args)
			}
			return oneNetns(cmd, args)
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 || host {
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
			if host {
				if err := e.checkHostAllowed(cmd.Context()); err != nil {
					return err
				}
				args, allowHost = []string{hostNetns}, true
				if name == "" {
					name = hostName
				}
			}
			pod, id := registrationName(name)
			r, err := e.register(cmd.Context(), args[0], host || cmd.Flags().Changed("name"), reset, state.Record{
				Attachment: state.ManualAttachment(id), Pod: pod, Layers: policy.Layers{Network: layer, PodOverrides: policy.OverridesNone},
			}, allowHost)
			if err != nil {
				return err
			}
			if host {
				noteOtherHost(&r)
			}
			e.noteReaper(cmd.Context(), &r, allowHost)
			return e.printRegistration(r, func(key string) string { return "--" + flagOf(key, cmd.Flags()) })
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "`NAME` of the registration, or NAMESPACE/NAME (default: from the path or process id)")
	cmd.Flags().BoolVar(&reset, "reset", false, "keep no value of an earlier registration of the namespace")
	addPolicyFlags(cmd, policyFlags())
	cmd.Flags().BoolVar(&allowHost, "allow-host-netns", false, "allow the host's namespace; the reaper needs this flag too")
	cmd.Flags().BoolVar(&host, "host", false, "register the host's own namespace, that of process 1")
	cmd.MarkFlagsMutuallyExclusive("host", "allow-host-netns")
	e.outputFlag(cmd)
	return cmd
}

// printRegistration prints a registration, and its notes on stderr. flag returns the flag that set a key of the policy.
func (e *env) printRegistration(r registration, flag func(key string) string) error {
	if e.PrintsObject() {
		return e.PrintObject(r)
	}
	again := ""
	if slices.Contains(r.Replaced, r.Record.ContainerID) {
		again = " again"
	}
	fmt.Fprintf(e.Out, "registered %s%s: %s, %s\n", describe.Pod(r.Record.Pod, r.Record.ContainerID), again, safetext.Escape(r.Record.Netns.Path), r.Record.Netns.Identity)
	for _, old := range r.Replaced {
		if old != r.Record.ContainerID {
			fmt.Fprintf(e.Out, "replaces %s\n", old)
		}
	}
	p := r.Record.Layers.Resolve(0).Policies[0]
	t := e.NewTable(term.Column{Name: "POLICY"}, term.Column{Name: "VALUE"}, term.Column{Name: "FROM"})
	for _, v := range describe.PolicyValues(p) {
		from := p.Sources[v.Key]
		if from == state.SourceRegister {
			if from = flag(v.Key); r.isKept(v.Key, from) {
				from = "the earlier registration"
			}
		}
		t.Row(v.Name, v.Value, from)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	e.printNotes(r.Notes)
	return nil
}

func (e *env) printNotes(notes []string) {
	for _, note := range notes {
		e.note("note: %s", note)
	}
}

// oneNetns checks that a command has its one argument.
func oneNetns(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want one NETNS, a path, process id or name under %s, not %d arguments", hostfs.NetnsDirs()[0], len(args))
	}
	return nil
}

// register records the namespace arg. rec has the policy and, if named, the name.
func (e *env) register(ctx context.Context, arg string, named, reset bool, rec state.Record, allowHost bool) (registration, error) {
	where, err := register.Locate(arg)
	if err != nil {
		return registration{}, err
	}
	h, err := netns.Open(where.Path)
	if err != nil {
		return registration{}, where.Explain(err)
	}
	defer h.Close()
	r := registration{Replaced: []string{}, SharedWith: []state.Attachment{}, Notes: []string{}} // never null
	if !allowHost {
		owner, warning, err := register.HostOwner(h)
		if err == nil && owner != "" {
			err = fmt.Errorf("%s is %s: use --allow-host-netns to register it, here and for the reaper",
				where.Path, owner)
		}
		if err != nil {
			return r, err
		}
		if warning != "" {
			r.note("%s", warning)
		}
	}
	if pid := register.ProcessOf(where.Path); pid != "" && arg != hostNetns {
		mounted := register.MountedAt(h.Stat())
		switch {
		case mounted == "":
			r.note("the registration lasts as long as process %s", pid)
		case where.PID != "":
			where.Path = mounted
		default:
			r.note("the registration lasts as long as process %s; to outlast it, register %s, the same namespace", pid, mounted)
		}
	}
	if !named {
		rec.ContainerID = register.NameOf(where.Path)
	}
	if err := rec.CheckName(); err != nil {
		return registration{}, cmdline.AsUsage(fmt.Errorf(
			"--name %q: want NAME or NAMESPACE/NAME, each a letter or digit and then letters, digits, \"_\", \".\" or \"-\": %w", rec.ContainerID, err))
	}
	rec.Version, rec.Network, rec.Netns.Path, rec.Time = state.Version, state.ManualNetwork, where.Path, time.Now().UTC()
	if rec.Netns.Identity, err = h.Identify(); err != nil {
		return registration{}, err
	}
	if rec.Boot, err = netns.BootID(); err != nil {
		return registration{}, err
	}
	r.Record = rec
	return r, e.putRecord(ctx, &r, named, reset)
}

// noteReaper adds notes about the effect of the registration: whether a reaper is running, and what it does with it.
func (e *env) noteReaper(ctx context.Context, r *registration, allowHost bool) {
	r.ReaperRunning = launch.Running(e.store().SocketPath())
	if !r.ReaperRunning {
		start := e.startCommand()
		if allowHost {
			start += " --allow-host-netns"
		}
		r.note("no reaper is running: start one with %q", start)
		return
	}
	v, err := e.awaitAttachment(ctx, r.Record)
	switch {
	case err != nil:
		r.note("the reaper has not read the record yet: %v", err)
	case v.Inert != "":
		r.note("the reaper leaves its sockets alone: %s", safetext.Escape(v.Inert))
	case len(v.CappedBy) > 0:
		r.note("the mode is %s because of %s", v.Mode, safetext.Escape(strings.Join(v.CappedBy, "; ")))
	}
	if slices.Contains(slices.Collect(maps.Values(v.Sources)), policy.SourceMinGrace) {
		r.note("the reaper's --min-grace replaces shorter times of the policy: see halfclose status")
	}
	recorded := r.Record.Layers.Resolve(0).Policies[0].Sources
	for key, source := range v.Sources {
		if source != recorded[key] && source != policy.SourceMinGrace {
			r.note("the policy file replaces some of these values: \"halfclose policy show %s\" shows the result", safetext.Escape(describe.Pod(r.Record.Pod, r.Record.ContainerID)))
			break
		}
	}
}

// awaitAttachment waits until the reaper has read the record, and returns its view of the attachment.
func (e *env) awaitAttachment(ctx context.Context, rec state.Record) (view api.AttachmentView, err error) {
	err = e.awaitStatus(ctx, func(views []api.AttachmentView) bool {
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

// putRecord writes the record, and deletes earlier registrations of the namespace. Unless reset is set, an earlier
// registration's values stay that the record does not have, and its name stays unless the record was named.
func (e *env) putRecord(ctx context.Context, r *registration, named, reset bool) error {
	listing, err := e.store().List(ctx)
	if err != nil {
		return err
	}
	c, err := register.FindRelated(listing.Records, r.Record)
	if err != nil {
		return err
	}
	for _, old := range c.Replaced {
		if !reset && old.Boot == r.Record.Boot && old.Netns.Same(r.Record.Netns.Identity) {
			if r.Record.Layers.Network, r.Kept, err = register.MergeLayers(old.Layers.Network, r.Record.Layers.Network); err != nil {
				return err
			}
			if !named {
				r.Record.Attachment, r.Record.Pod = old.Attachment, old.Pod
			}
			break
		}
	}
	if err := e.store().Put(r.Record); err != nil {
		return err
	}
	for _, old := range c.Replaced {
		r.Replaced = append(r.Replaced, old.ContainerID)
		if old.Attachment != r.Record.Attachment { // else Put has replaced it
			err = errors.Join(err, e.store().Delete(old.Attachment))
		}
	}
	for _, h := range listing.Holds {
		if a, _, err := state.ParseFileName(h.File); h.Names(r.Record.Netns.Identity) && (err != nil || a != r.Record.Attachment) {
			r.note("this namespace is only observed as long as %q is in %s: %s", h.File, e.store().AttachmentsDir(), safetext.Escape(h.Reason))
		}
	}
	for _, rec := range c.Shared {
		r.SharedWith = append(r.SharedWith, rec.Attachment)
		r.note("CNI has recorded this namespace too (%s): each socket gets the more conservative verdict of both policies",
			safetext.Escape(describe.Pod(rec.Pod, rec.ContainerID)))
	}
	return err
}

// completeNetns completes an argument NETNS.
func completeNetns(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	names, files := register.CompleteName(toComplete)
	if files {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// hostNetns is the path of the host's own network namespace, hostName the name of its registration. Process 1 lives as
// long as the namespace.
const (
	hostNetns = "/proc/1/ns/net"
	hostName  = "host"
)

// noNetns checks that register --host has no argument.
func noNetns(args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("--host is the host's own namespace: want no NETNS beside it, not %q", args[0])
	}
	return nil
}

// allowHostFlag is the reaper's flag for records of the host's own network namespace.
const allowHostFlag = "allow-host-netns"

// checkHostAllowed returns an error if a reaper runs that refuses the host's own network namespace.
func (e *env) checkHostAllowed(ctx context.Context) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	cfg, err := client.Config(ctx)
	if errors.Is(err, admin.ErrNotRunning) {
		return nil // a note says how to start one
	}
	if err != nil {
		return err
	}
	for _, f := range cfg.Flags {
		if f.Name == allowHostFlag && f.Value != "true" {
			return fmt.Errorf("the running reaper does not act on the host's own network namespace: start it with --%s, or %s=true in its environment", f.Name, f.Variable)
		}
	}
	return nil
}

// noteOtherHost adds a note if process 1 is not the host's, as in a container without the host's PID namespace.
func noteOtherHost(r *registration) {
	if pid := hostfs.NamespaceInode("/proc/1/ns/pid"); pid != 0 && pid != hostfs.InitialPIDNS {
		r.note("process 1 is not the host's here: in a container, use the host's PID namespace (hostPID: true)")
	}
}
