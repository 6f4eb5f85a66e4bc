// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/halfclose/halfclose/pkg/buildinfo"
	"github.com/halfclose/halfclose/pkg/netns"
	"github.com/halfclose/halfclose/pkg/policy"
)

// Version is the version of the record format. Additional fields, which this version ignores, do not change the number.
const Version = 2

// Record is an attachment on disk. It has the layers of the policy, which its reader resolves.
type Record struct {
	Version int    `json:"version"` // of its file; Put writes the current one
	Network string `json:"network"` // the CNI network's name
	Attachment
	Boot   string        `json:"boot"` // netns.BootID when the record was written
	Netns  Netns         `json:"netns"`
	Pod    Pod           `json:"pod,omitzero"`
	Layers policy.Layers `json:"layers"`
	// Warnings are the mistakes in the configuration and the annotations, for operators. Layers.Observe is their effect.
	Warnings []string `json:"warnings,omitempty"`
	// Plugin is the build of the plugin that wrote the record, zero if another program did.
	Plugin buildinfo.Build `json:"plugin,omitzero"`
	Time   time.Time       `json:"time"` // of writing, by the wall clock

	// Adopted is set if the container was running before and no ADD wrote the record: see Store.Adopt. AdoptedFrom is what
	// proved the attachment: the path of a file of libcni's cache, on the node, or of the netns's mount. Once it is absent, the
	// container is gone.
	Adopted     bool   `json:"adopted,omitempty"`
	AdoptedFrom string `json:"adoptedFrom,omitempty"`
}

// Netns is a network namespace and the path that led to it.
type Netns struct {
	Path string `json:"path"`
	netns.Identity
}

// Inert reports whether the record is of another boot than the given one. The identity of its netns then means nothing.
func (r Record) Inert(boot string) bool { return r.Boot != boot }

// The errors of a file that is no record of this version.
var (
	// ErrNewer is the error of a file that a newer version of halfclose wrote.
	ErrNewer = errors.New("record was written by a newer version of halfclose: upgrade this one")
	// ErrInvalid is the error of a file that is damaged or no record.
	ErrInvalid = errors.New("not a valid record")
)

// encode returns the content of a record's file.
func encode(r Record) ([]byte, error) {
	r.Version = Version
	if err := r.validate(); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // an escape has six bytes, and a pod may choose the text
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return nil, err
	}
	data := b.Bytes()
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("record has %d bytes, more than the limit of %d", len(data), maxFileSize)
	}
	return data, nil
}

// decode parses the content of a file. The error is ErrNewer or ErrInvalid.
func decode(name string, data []byte) (Record, error) {
	a, key, err := ParseFileName(name)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	// The version first: the other fields may have other types in a newer version.
	var head struct {
		Version int             `json:"version"`
		Netns   json.RawMessage `json:"netns"`
		Layers  json.RawMessage `json:"layers"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	switch {
	case head.Version > Version:
		return Record{}, fmt.Errorf("%w (version %d, this one reads %d)", ErrNewer, head.Version, Version)
	case head.Version < Version:
		return Record{}, fmt.Errorf("%w: version %d, this one reads %d", ErrInvalid, head.Version, Version)
	}
	if err := checkPresent(head.Netns, head.Layers); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if r.Attachment != a {
		return Record{}, fmt.Errorf("%w: the file's name is of %s, its content of %s", ErrInvalid, a, r.Attachment)
	}
	if key != KeyOf(r.Netns.Identity) {
		return Record{}, fmt.Errorf("%w: the file's name has netns %s, its content %s", ErrInvalid, key, KeyOf(r.Netns.Identity))
	}
	if r.Adopted != isAdoptedName(name) {
		return Record{}, fmt.Errorf("%w: the content and the file's name disagree on whether it is adopted", ErrInvalid)
	}
	if err := r.validate(); err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return r, nil
}

// checkPresent checks the fields whose zero value has a meaning. A cookie of 0 is that of a kernel without cookies: if it were
// only left out, the record would match any netns with its inode number. Empty layers are those of a network without values.
func checkPresent(netnsObject, layers json.RawMessage) error {
	var ns struct {
		Cookie *uint64 `json:"cookie"`
	}
	if len(netnsObject) > 0 {
		if err := json.Unmarshal(netnsObject, &ns); err != nil {
			return err
		}
	}
	switch {
	case ns.Cookie == nil:
		return errors.New("no netns cookie")
	case len(layers) == 0 || string(layers) == "null":
		return errors.New("no policy layers")
	}
	return nil
}

// validate checks the fields that every reader of a record relies on, except for its attachment.
func (r Record) validate() error {
	switch {
	case r.Network == "":
		return errors.New("no network")
	case r.Boot == "":
		return errors.New("no boot id")
	case r.Netns.Path == "":
		return errors.New("no netns path")
	case !filepath.IsAbs(r.Netns.Path):
		return errors.New("netns path is not absolute")
	case r.Netns.Inode == 0:
		return errNoInode
	}
	return nil
}

// FileName returns the name of the record's file, "<containerID>@<ifname>:<netns cookie>-<netns inode>.json", with
// ":adopted" before the ".json" if the record is adopted. Its errors are those of Attachment.CheckName.
func (r Record) FileName() (string, error) {
	return fileNameOf(r.Attachment, KeyOf(r.Netns.Identity), r.Adopted)
}

// KeyOf returns the key of a netns.
func KeyOf(id netns.Identity) NetnsKey { return NetnsKey{Cookie: id.Cookie, Inode: id.Inode} }

// Names reports whether the key identifies a netns. If either cookie is unknown it compares the inode numbers, which the
// kernel reuses.
func (k NetnsKey) Names(id netns.Identity) bool {
	if k.Cookie != 0 && id.Cookie != 0 {
		return k.Cookie == id.Cookie
	}
	return k.Inode != 0 && k.Inode == id.Inode
}

// Manual reports whether the record is of a netns that was registered by hand: no DEL will remove it.
func (r Record) Manual() bool { return r.Network == ManualNetwork }
