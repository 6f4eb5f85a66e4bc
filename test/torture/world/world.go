// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/halfclose/halfclose/internal/cgroup"
	"github.com/halfclose/halfclose/test/node"
	"github.com/halfclose/halfclose/test/torture/agent"
	"github.com/halfclose/halfclose/test/torture/model"
	"github.com/halfclose/halfclose/test/torture/plan"
)

// Config is what a world needs.
type Config struct {
	Programs string   // the directory of halfclose and cni/halfclose
	Env      []string // of the plugin
	Start    model.Time
	Log      func(format string, args ...any)
}

// World carries out a plan. Its methods may be called by several goroutines.
type World struct {
	cfg     Config
	outside *process

	mu         sync.Mutex
	namespaces map[string]*namespace // that exist
	records    map[string]*model.Namespace
	tracks     []*track
	faults     []string // that no socket's expectation shows
	skipped    int
	clients    map[string]string // addresses of clients by connection
	finished   map[string]bool   // connections whose ends are closed
	quiet      sync.RWMutex      // held for reading while a registration changes
}

// New returns a world with the peers' namespace.
func New(cfg Config) (*World, error) {
	path, err := addNetns(outside)
	if err != nil {
		return nil, err
	}
	if err := node.In(path, setFinTimeout); err != nil {
		return nil, err
	}
	w := &World{cfg: cfg, namespaces: make(map[string]*namespace), records: make(map[string]*model.Namespace)}
	w.outside, err = startProcess(path, "peers")
	return w, err
}

// Close ends the peers.
func (w *World) Close() error {
	w.witnessStrays(w.outside)
	w.outside.stop()
	return node.DeleteNetns(outside)
}

// Play carries out the plan of all namespaces, and returns when all have ended.
func (w *World) Play(ctx context.Context, p *plan.Plan) error {
	errs := make([]error, len(p.Namespaces))
	var all sync.WaitGroup
	for i := range p.Namespaces {
		all.Go(func() {
			n := &p.Namespaces[i]
			if w.sleepUntil(ctx, n.At) != nil {
				return
			}
			if err := w.playNamespace(ctx, n); err != nil {
				errs[i] = fmt.Errorf("namespace %s: %w", n.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// sleepUntil waits until a time of the plan.
func (w *World) sleepUntil(ctx context.Context, at time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(w.cfg.Start + at - model.Now()):
		return nil
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// Sockets returns the sockets of the run with what happened to them.
func (w *World) Sockets() []*model.Socket {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*model.Socket, 0, len(w.tracks))
	for _, t := range w.tracks {
		all = append(all, t.socket)
	}
	return all
}

// Namespaces returns the registrations of the run.
func (w *World) Namespaces() map[string]*model.Namespace {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.records)
}

// Faults returns what went wrong beside the ends of sockets: options, bytes, events for closed descriptors, and orders that
// failed on living connections.
func (w *World) Faults() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.faults)
}

func (w *World) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.cfg.Log("fault: %s", text)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults = append(w.faults, text)
}

func (w *World) witnessStrays(p *process) {
	for _, s := range p.strays() {
		w.fault("an owner got an %s", s.Error)
	}
}

// namespace is a registered namespace that exists.
type namespace struct {
	plan     *plan.Namespace
	path     string
	owners   []*process
	freezers map[*process]*cgroup.Cgroup
	local    *process // of the other ends of loopback connections

	changing  sync.Mutex // held while the plugin is called
	isRemoved bool       // no ADD follows

	mu          sync.Mutex
	listeners   map[string]*listener
	tracks      map[*process]map[*track]struct{}
	attachments map[string]model.Policy
	deleted     bool       // without DEL
	vanished    model.Time // when
}

// listener accepts one connection at a time, so that both ends of a connection are known.
type listener struct {
	sync.Mutex

	owner  *process
	name   string
	isOpen bool
}

func (w *World) playNamespace(ctx context.Context, p *plan.Namespace) error {
	n, err := w.create(p)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.namespaces[p.Name] = n
	w.records[p.Name] = &model.Namespace{Name: p.Name, Attachments: make(map[string][]model.Change)}
	w.mu.Unlock()

	var all sync.WaitGroup
	errs := make([]error, len(p.Attachments)+len(p.Connections)+len(p.Owners))
	first := make(chan struct{}) // closed when the first attachment is there, as a runtime starts the container afterwards
	for i := range p.Attachments {
		all.Go(func() {
			errs[i] = w.attach(ctx, n, &p.Attachments[i], func() {
				if i == 0 {
					close(first)
				}
			})
		})
	}
	<-first
	for i := range p.Connections {
		all.Go(func() { errs[len(p.Attachments)+i] = w.playConnection(ctx, n, &p.Connections[i]) })
	}
	for i := range p.Owners {
		all.Go(func() { errs[len(p.Attachments)+len(p.Connections)+i] = w.freezeOwner(ctx, n, i) })
	}
	all.Wait()
	return errors.Join(errors.Join(errs...), w.remove(ctx, n))
}

// create creates the namespace with its owners.
func (w *World) create(p *plan.Namespace) (*namespace, error) {
	n := &namespace{
		plan: p, listeners: make(map[string]*listener), tracks: make(map[*process]map[*track]struct{}),
		attachments: make(map[string]model.Policy), freezers: make(map[*process]*cgroup.Cgroup),
	}
	var err error
	if n.path, err = addNetns(p.Name); err != nil {
		return nil, err
	}
	if err := errors.Join(node.In(n.path, setFinTimeout), link(p.Name, p.Index)); err != nil {
		return nil, err
	}
	for _, o := range p.Owners {
		owner, err := startProcess(n.path, o.Command)
		if err != nil {
			return nil, err
		}
		n.owners = append(n.owners, owner)
		if err := n.addFreezer(owner, o); err != nil {
			return nil, err
		}
	}
	n.local, err = startProcess(n.path, "local")
	return n, err
}

// attach carries out the changes of an attachment, and calls done after the first one.
func (w *World) attach(ctx context.Context, n *namespace, a *plan.Attachment, done func()) error {
	for i, c := range a.Changes {
		if i > 0 && w.sleepUntil(ctx, c.At) != nil {
			return nil
		}
		if n.isDeleted() {
			return nil
		}
		err := w.change(ctx, n, a.Ifname, c.Policy)
		if i == 0 {
			done()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (n *namespace) isDeleted() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.deleted
}

// change adds an attachment with a policy, or deletes it.
func (w *World) change(ctx context.Context, n *namespace, ifname string, p *model.Policy) error {
	w.quiet.RLock()
	defer w.quiet.RUnlock()
	n.changing.Lock()
	defer n.changing.Unlock()
	if p != nil && n.isRemoved {
		return nil
	}
	command, config := "DEL", conf(model.Policy{Mode: model.Observe, ProbeCount: 1, ProbeInterval: time.Second})
	if p != nil {
		command, config = "ADD", conf(*p)
	}
	before := model.Now()
	if err := w.plugin(ctx, command, n.plan.Name, ifname, n.path, config); err != nil {
		return err
	}
	w.record(n, ifname, model.Change{Span: model.Span{Before: before, After: model.Now()}, Policy: p})
	return nil
}

// record notes a changed attachment for the model.
func (w *World) record(n *namespace, ifname string, c model.Change) {
	n.mu.Lock()
	if c.Policy == nil {
		delete(n.attachments, ifname)
	} else {
		n.attachments[ifname] = *c.Policy
	}
	n.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.records[n.plan.Name]
	r.Attachments[ifname] = append(r.Attachments[ifname], c)
}

// remove deletes the namespace as a runtime does: its processes exit, DEL, and its path.
func (w *World) remove(ctx context.Context, n *namespace) error {
	n.changing.Lock()
	n.isRemoved = true
	n.changing.Unlock()
	var errs []error
	for _, p := range n.processes() {
		w.witnessStrays(p)
		p.stop()
	}
	for _, f := range n.freezers {
		errs = append(errs, removeFreezer(f))
	}
	n.mu.Lock()
	deleted, ifnames := n.deleted, slices.Sorted(maps.Keys(n.attachments))
	n.mu.Unlock()
	for _, ifname := range ifnames {
		errs = append(errs, w.change(context.WithoutCancel(ctx), n, ifname, nil))
	}
	w.mu.Lock()
	delete(w.namespaces, n.plan.Name)
	w.mu.Unlock()
	if !deleted {
		errs = append(errs, node.DeleteNetns(n.plan.Name))
	}
	return errors.Join(errs...)
}

// processes returns all processes of the namespace.
func (n *namespace) processes() []*process { return append(slices.Clone(n.owners), n.local) }

// listen returns the listener of a port at an address, which the process opens at the first call. It may wait for a frozen process.
func (n *namespace) listen(p *process, address, name string) (*listener, error) {
	n.mu.Lock()
	l := n.listeners[name]
	if l == nil {
		l = &listener{owner: p, name: n.plan.Name + "/" + name}
		n.listeners[name] = l
	}
	n.mu.Unlock()
	l.Lock()
	defer l.Unlock()
	if l.isOpen {
		return l, nil
	}
	_, err := p.order(agent.Order{Op: agent.Listen, Listener: l.name, Address: address})
	l.isOpen = err == nil
	return l, err
}

// netnsPath returns the path of a named namespace.
func netnsPath(name string) string { return filepath.Join(node.NetnsDir, name) }
