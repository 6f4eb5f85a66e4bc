// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package adopt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/cniconf"
	"github.com/halfclose/halfclose/pkg/hostfs"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// cacheFile is what is known of a file of the cache. An unchanged file is not read again.
type cacheFile struct {
	stamp  hostfs.Stamp
	readAt time.Time
	claim  claim
	err    error // why it has no claim
	// A search for its netns is repeated at intervals that double: an entry that a container has left behind would have all
	// namespaces searched at each pass.
	wait  time.Duration
	next  time.Time
	found refusal
}

// pass is one pass.
type pass struct {
	*Adopter
	ctx     context.Context
	era     era
	listing state.Listing
	known   map[state.Attachment]bool // attachments with a file
	ids     []netns.Identity          // of registered network namespaces
	all     networks
	places  map[string][]place // what a search found, by interface

	entries      []Entry
	adopted      int // records that adoption wrote
	unregistered []NamedNetns
	errs         []error
}

// proven is an entry whose network namespace is proven.
type proven struct {
	contender
	at    int // in entries
	dir   *hostfs.Directory
	name  string
	file  *cacheFile
	place place
	net   network
}

func (p *pass) run(all bool) {
	p.era.now = p.cfg.Clock.Wall()
	p.era.boot = bootTime(p.cfg.Clock, p.era.now)
	p.places = make(map[string][]place)
	var err error
	if _, err = p.reader.ReadAll(p.ctx, false); err != nil {
		p.errs = append(p.errs, err)
		return
	}
	p.listing = p.reader.Listing()
	p.index()
	if p.all, err = loadNetworks(p.root(), p.cfg.ConfDirs); err != nil {
		p.errs = append(p.errs, err)
	} else {
		p.readCache()
	}
	if all && p.cfg.Enabled {
		p.reconcile()
	}
	if all {
		p.adoptMounts()
	}
	listed := make(map[string]bool)
	named, err := findNamed(p.cfg.HostRoot, func(path string) (netns.Identity, error) {
		listed[path] = true
		return p.identifyNamed(path)
	})
	maps.DeleteFunc(p.named, func(path string, _ netns.Identity) bool { return !listed[path] })
	if err != nil {
		p.errs = append(p.errs, err)
	}
	p.unregistered = Unregistered(named, p.ids)
}

// identifyNamed identifies the network namespace at a path. It opens the path only if it leads elsewhere than before.
func (p *pass) identifyNamed(path string) (netns.Identity, error) {
	if known, ok := p.named[path]; ok {
		if at, err := p.cfg.Root.Stat(path); err == nil && at == known {
			return known, nil
		}
		delete(p.named, path)
	}
	id, err := identify(p.cfg.Root, path)
	if err == nil {
		p.named[path] = id
	}
	return id, err
}

// index collects the attachments and the network namespaces of the records.
func (p *pass) index() {
	p.known = make(map[state.Attachment]bool)
	for _, r := range p.listing.Records {
		p.known[r.Attachment] = true
		if r.Boot == p.boot {
			p.ids = append(p.ids, r.Netns.Identity)
			if r.Adopted {
				p.adopted++
			}
		}
	}
	for _, problem := range p.listing.Problems { // a damaged record is a record
		if a, _, err := state.ParseFileName(problem.File); err == nil {
			p.known[a] = true
		}
	}
}

// readCache judges the entries of all caches, and adopts the proven ones.
func (p *pass) readCache() {
	seen := make(map[string]bool)
	var winners []proven
	for _, path := range resultsIn(p.cfg.CacheDirs) {
		d, err := p.root().OpenDirectory(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			p.errs = append(p.errs, fmt.Errorf("read the result cache: %w", err))
			continue
		}
		defer d.Close() // after the records are written: fewer than the flags of --cni-cache
		winners = append(winners, p.readCacheDir(d, seen)...)
	}
	maps.DeleteFunc(p.files, func(path string, _ *cacheFile) bool { return !seen[path] })
	for i, w := range winners {
		if r := p.judgeRivals(w, winners); r.reason != "" {
			p.refuse(w.at, r)
		} else if p.cfg.Enabled && p.ctx.Err() == nil {
			p.adopt(&winners[i])
		}
	}
}

func (p *pass) readCacheDir(d *hostfs.Directory, seen map[string]bool) (winners []proven) {
	entries, err := d.Entries()
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("read the result cache: %w", err))
		return nil
	}
	for _, e := range entries {
		if p.ctx.Err() != nil {
			return winners
		}
		path := filepath.Join(d.Path(), e.Name())
		f, gone := p.file(d, e.Name(), path)
		if gone || e.IsDir() {
			continue
		}
		seen[path] = true
		p.entries = append(p.entries, Entry{File: path, Attachment: f.claim.Attachment, Network: f.claim.network, Pod: f.claim.pod, Netns: f.claim.path})
		w := proven{at: len(p.entries) - 1, dir: d, name: e.Name(), file: f}
		if r := p.judge(&w); r.reason != "" {
			p.refuse(w.at, r)
			continue
		}
		p.entries[w.at].Netns = w.place.path
		winners = append(winners, w)
	}
	return winners
}

func (p *pass) refuse(at int, r refusal) {
	p.entries[at].Reason, p.entries[at].Why = r.reason, r.why
}

// file returns what is known of a file, and reads it if it has changed.
func (p *pass) file(d *hostfs.Directory, name, path string) (f *cacheFile, gone bool) {
	now := p.cfg.Clock.Wall()
	s, err := hostfs.StampAt(d.FD(), name)
	if err != nil {
		return &cacheFile{err: err}, errors.Is(err, fs.ErrNotExist)
	}
	if f = p.files[path]; f != nil && f.stamp == s && s.ShowsChangesAfter(f.readAt) {
		return f, false
	}
	f = &cacheFile{stamp: s, readAt: now}
	cached, err := cniconf.ReadCachedFile(d, name)
	if err == nil {
		f.claim, err = parseClaim(cached)
	}
	f.err = err
	p.files[path] = f
	return f, errors.Is(err, fs.ErrNotExist)
}

// judge proves an entry, or returns why it is not adopted.
func (p *pass) judge(w *proven) (r refusal) {
	c := w.file.claim
	switch {
	case w.file.err != nil:
		return refuse(api.AdoptUnreadable, "%v", w.file.err)
	case p.known[c.Attachment]:
		return refuse(api.AdoptRegistered, "it is registered")
	}
	if r = judgeAge(w.file.stamp.Modified(), p.era); r.reason != "" {
		return r
	}
	if w.net, r = judgeNetwork(c, p.all); r.reason != "" {
		return r
	}
	if w.place, r = p.locate(w.file); r.reason != "" {
		return r
	}
	w.contender = contender{attachment: c.Attachment, written: w.file.stamp.Modified(), netns: w.place.id}
	return refusal{}
}

// locate returns the place of a claim, or why there is none.
func (p *pass) locate(f *cacheFile) (place, refusal) {
	c := f.claim
	if c.mac == nil && len(c.addresses) == 0 {
		return place{}, refuse(api.AdoptUnproven, "its result has neither an address nor a MAC of %s: nothing can prove its network namespace", c.IfName)
	}
	if c.path != "" {
		return selectNamed(c, p.placeAt(c.path, c.IfName))
	}
	if p.era.now.Before(f.next) {
		return place{}, f.found
	}
	if p.places[c.IfName] == nil {
		p.places[c.IfName] = p.search(c.IfName)
	}
	at, r := selectFound(c, p.places[c.IfName])
	f.found = r
	f.wait = min(max(2*f.wait, interval), maxSearchWait)
	f.next = p.era.now.Add(f.wait)
	return at, r
}

// maxSearchWait is the longest time between two searches for the netns of an entry.
const maxSearchWait = 10 * time.Minute

// placeAt looks at the network namespace at a path.
func (p *pass) placeAt(path, ifname string) place {
	at := place{path: path}
	h, err := p.cfg.Root.Open(path)
	if err != nil {
		at.err = err
		return at
	}
	defer h.Close()
	at.id = h.Stat()
	if at.host = slices.ContainsFunc(p.never, at.id.Same); at.host {
		return at
	}
	if at.id, at.err = h.Identify(); at.err == nil {
		at.link, at.found, at.err = lookupLink(h, ifname)
	}
	return at
}

func isNoNamespace(err error) bool { return errors.Is(err, netns.ErrNotNamespace) }

// search looks at all network namespaces in the netns directories.
func (p *pass) search(ifname string) (all []place) {
	for _, dir := range p.cfg.NetnsDirs {
		for _, path := range filesIn(p.root(), dir) {
			if p.ctx.Err() != nil {
				return nil
			}
			all = append(all, p.placeAt(path, ifname))
		}
	}
	return all
}

// judgeRivals refuses an entry if another container has its interface.
func (p *pass) judgeRivals(w proven, winners []proven) refusal {
	for _, r := range p.listing.Records {
		if r.Boot == p.boot && r.IfName == w.attachment.IfName && r.ContainerID != w.attachment.ContainerID && r.Netns.Same(w.netns) {
			return refuse(api.AdoptAmbiguous, "its network namespace is registered by container %s", r.ContainerID)
		}
	}
	for _, other := range winners {
		if w.losesTo(other.contender) {
			return refuse(api.AdoptAmbiguous, "a later entry, %s, has the same interface in the same network namespace", p.entries[other.at].File)
		}
	}
	return refusal{}
}

// adopt writes the record of a proven entry.
func (p *pass) adopt(w *proven) {
	record, err := p.record(w)
	var written bool
	if err == nil {
		written, err = p.cfg.Store.Adopt(record)
	}
	switch {
	case errors.Is(err, errChanged):
		p.refuse(w.at, refuse(api.AdoptNoNetns, "it was deleted or replaced at the same time"))
		return
	case err != nil:
		p.refuse(w.at, refuse(api.AdoptFailed, "%v", err))
		p.cfg.Log.Warn("cannot adopt a running container", "container", w.attachment.ContainerID, "ifname", w.attachment.IfName, "error", err)
		return
	case !written:
		p.refuse(w.at, refuse(api.AdoptRegistered, "it was registered at the same time"))
		return
	}
	// A DEL that ended before the record was written has found none. libcni removes the entry after it.
	if s, err := hostfs.StampAt(w.dir.FD(), w.name); err != nil || s != w.file.stamp {
		record.Adopted = true
		p.refuse(w.at, refuse(api.AdoptNoNetns, "it was deleted or replaced at the same time"))
		if err := p.cfg.Store.Remove(record); err != nil {
			p.errs = append(p.errs, err)
		}
		return
	}
	p.entries[w.at].Adopted = true
	p.adopted++
	p.ids = append(p.ids, record.Netns.Identity)
	p.cfg.Log.Info("adopted a running container", "container", record.ContainerID, "ifname", record.IfName, "network", record.Network,
		"pod_namespace", record.Pod.Namespace, "pod", record.Pod.Name, "netns", record.Netns.Path)
}

// errChanged is the error of an entry that has changed since it was judged.
var errChanged = errors.New("the entry has changed")

// record returns the record that an ADD with today's configuration would write. It reads the entry again, for the pod's
// annotations: a pod may have any number, so they are not kept in memory.
func (p *pass) record(w *proven) (state.Record, error) {
	cached, err := cniconf.ReadCachedFile(w.dir, w.name)
	if err != nil {
		return state.Record{}, fmt.Errorf("%w: %w", errChanged, err)
	}
	if s, err := hostfs.StampAt(w.dir.FD(), w.name); err != nil || s != w.file.stamp {
		return state.Record{}, errChanged
	}
	var pod policy.PodAnnotations
	if w.net.conf.PodAnnotations { // else a runtime would pass none
		pod = policy.ReadPodAnnotations(cached.CapabilityArgs, "capabilityArgs")
	}
	layers, warnings := w.net.conf.Attach(w.net.problems, pod)
	return state.Record{
		Network: w.file.claim.network, Attachment: w.attachment, Boot: p.boot, Netns: state.Netns{Path: w.place.path, Identity: w.place.id},
		Pod: w.file.claim.pod, Layers: layers, Warnings: warnings, Time: p.era.now.UTC(), AdoptedFrom: p.entries[w.at].File,
	}, nil
}

// reconcile removes adopted records whose entry of the cache is gone: a DEL may have ended while the record was written, and
// the runtime may call no DEL for a container that was created without halfclose.
func (p *pass) reconcile() {
	for _, r := range p.listing.Records {
		if r.Adopted && r.Network != state.MountedNetwork && r.AdoptedFrom != "" && p.isAbsent(r.AdoptedFrom) {
			p.release(r, "its entry of the result cache is gone")
		}
	}
}

// isAbsent reports whether a file is proven not to exist: its directory can be opened.
func (p *pass) isAbsent(path string) bool {
	d, err := p.root().OpenDirectory(filepath.Dir(path))
	if err != nil {
		return false
	}
	defer d.Close()
	_, err = hostfs.StampAt(d.FD(), filepath.Base(path))
	return errors.Is(err, fs.ErrNotExist)
}

// release removes an adopted record.
func (p *pass) release(r state.Record, why string) {
	if err := p.cfg.Store.Remove(r); err != nil {
		p.errs = append(p.errs, err)
		return
	}
	p.adopted--
	p.ids = slices.DeleteFunc(p.ids, func(id netns.Identity) bool { return id == r.Netns.Identity })
	p.cfg.Log.Info("removed the record of an adopted container", "container", r.ContainerID, "ifname", r.IfName, "why", why)
}
