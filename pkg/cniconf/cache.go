// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cniconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/halfclose/halfclose/pkg/hostfs"
)

// CacheDirs returns the directories in which libcni caches results on a node: those of runtimes (libcni.CacheDir) and of
// multus.
func CacheDirs() []string { return []string{"/var/lib/cni/results", "/var/lib/cni/multus/results"} }

// CachedAttachment is an entry of libcni's result cache: an attachment that libcni has made, and not deleted yet.
//
// CRI-O and podman run DEL and CHECK from the cached configuration, not from the current one. containerd uses only the
// result. The cache outlives a reboot, so the namespace may be gone. A network's drop-ins are not in the cached
// configuration.
type CachedAttachment struct {
	File           string          `json:"-"` // on the node
	ContainerID    string          `json:"containerId"`
	IfName         string          `json:"ifName"`
	NetworkName    string          `json:"networkName"`
	Netns          string          `json:"netns"`          // the path; "" in a cache of libcni before 1.2.0
	Config         []byte          `json:"config"`         // a conflist, or a single plugin's configuration
	Args           [][2]string     `json:"cniArgs"`        // of CNI_ARGS, such as K8S_POD_NAME
	CapabilityArgs json.RawMessage `json:"capabilityArgs"` // by capability, such as {"io.kubernetes.cri.pod-annotations": {}}; may be nil
	Result         json.RawMessage `json:"result"`         // of the whole chain; may be nil
}

// cacheKind is the kind of a cache file (libcni's CNICacheV1).
const cacheKind = "cniCacheV1"

// ReadCache reads the result caches in directories of the node. A directory that does not exist is empty. Files that cannot
// be read, or that are in the format of libcni before 0.7.2, are skipped, and each is a problem.
func ReadCache(root hostfs.Dir, dirs []string) (attachments []CachedAttachment, problems []error) {
	for _, dir := range dirs {
		all, failed := readCacheDir(root, dir)
		attachments = append(attachments, all...)
		problems = append(problems, failed...)
	}
	return attachments, problems
}

func readCacheDir(root hostfs.Dir, dir string) (attachments []CachedAttachment, problems []error) {
	d, err := root.OpenDirectory(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, []error{err}
	}
	defer d.Close()
	entries, err := d.Entries()
	if err != nil {
		return nil, []error{err}
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		a, err := readCached(d, e.Name())
		switch path := filepath.Join(dir, e.Name()); {
		case errors.Is(err, fs.ErrNotExist): // the attachment has been deleted since
		case err != nil:
			problems = append(problems, fmt.Errorf("read %s: %w", path, err))
		default:
			a.File = path
			attachments = append(attachments, a)
		}
	}
	return attachments, problems
}

func readCached(d *hostfs.Directory, name string) (a CachedAttachment, err error) {
	data, _, err := read(d, name)
	if err != nil {
		return a, err
	}
	return ParseCached(data)
}

// ReadCachedFile reads one file of a result cache. Unlike ReadCache it follows no symbolic link.
func ReadCachedFile(d *hostfs.Directory, name string) (a CachedAttachment, err error) {
	f, err := d.Open(name, unix.O_RDONLY, 0)
	if err != nil {
		return a, err
	}
	defer f.Close()
	data, _, err := ReadFile(f)
	if err != nil {
		return a, err
	}
	return ParseCached(data)
}

// ParseCached parses a file of the result cache.
func ParseCached(data []byte) (CachedAttachment, error) {
	var cached struct {
		Kind string `json:"kind"`
		CachedAttachment
	}
	if err := json.Unmarshal(data, &cached); err != nil {
		return CachedAttachment{}, err
	}
	if cached.Kind != cacheKind {
		return CachedAttachment{}, fmt.Errorf("unknown kind %q: want %q", cached.Kind, cacheKind)
	}
	return cached.CachedAttachment, nil
}

// Lists reports whether the cached configuration lists a plugin of a type.
func (a CachedAttachment) Lists(pluginType string) bool {
	type plugin struct{ Type string }
	var conf struct {
		plugin
		Plugins []plugin
	}
	if json.Unmarshal(a.Config, &conf) != nil {
		return false
	}
	return conf.Type == pluginType || slices.Contains(conf.Plugins, plugin{pluginType})
}

// Container returns the pod's name as NAMESPACE/NAME if CNI_ARGS has it, otherwise the container ID.
func (a CachedAttachment) Container() string {
	namespace, name := a.arg("K8S_POD_NAMESPACE"), a.arg("K8S_POD_NAME")
	if namespace == "" || name == "" {
		return a.ContainerID
	}
	return strings.Join([]string{namespace, name}, "/")
}

func (a CachedAttachment) arg(key string) string {
	for _, arg := range a.Args {
		if arg[0] == key {
			return arg[1]
		}
	}
	return ""
}
