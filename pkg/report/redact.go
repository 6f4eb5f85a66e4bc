// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// redacted stands for a value that may be secret.
const redacted = "REDACTED"

// knownKeys are the keys of network configurations whose values are no secrets: those of the CNI specification, and of the
// plugins that the containernetworking project maintains. The value of any other key of a foreign plugin is redacted:
// there are tokens, certificates and passwords among them.
var knownKeys = map[string]bool{
	"cniVersion": true, "cniVersions": true, "name": true, "type": true, "plugins": true, "disableCheck": true, "disableGC": true,
	"loadOnlyInlinedPlugins": true, "ipMasq": true, "ipMasqBackend": true, "ipam": true, "dns": true, "nameservers": true, "domain": true, "search": true,
	"bridge": true, "isGateway": true, "isDefaultGateway": true, "forceAddress": true, "mtu": true, "hairpinMode": true, "promiscMode": true, "vlan": true,
	"master": true, "mode": true, "linkInContainer": true, "subnet": true, "ranges": true, "rangeStart": true, "rangeEnd": true, "gateway": true,
	"routes": true, "dst": true, "gw": true, "snat": true, "ingressRate": true, "ingressBurst": true, "egressRate": true, "egressBurst": true,
	"delegate": true, "sysctl": true,
}

// keptWhole are the known keys whose values are kept with all keys in them: "capabilities" has a boolean for each name.
var keptWhole = map[string]bool{"capabilities": true, "sysctl": true}

// NetworkConf returns a CNI configuration with the values redacted that may be secrets, and the paths of their keys. The
// entry of the plugin named ours is kept. A configuration that cannot be parsed is an error: it may have secrets anywhere.
func NetworkConf(data []byte, ours string) (text []byte, keys []string, err error) {
	var v any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, nil, fmt.Errorf("parse JSON: %w", err)
	}
	if _, ok := v.(map[string]any); !ok {
		return nil, nil, fmt.Errorf("parse JSON: want an object")
	}
	r := confRedactor{ours: ours}
	v = r.value("", v)
	slices.Sort(r.keys)
	text, err = json.MarshalIndent(v, "", "  ")
	return append(text, '\n'), r.keys, err
}

type confRedactor struct {
	ours string
	keys []string
}

func (r *confRedactor) value(path string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		if v["type"] == r.ours && r.ours != "" {
			return v
		}
		for _, key := range slices.Sorted(maps.Keys(v)) {
			at := strings.TrimPrefix(path+"."+key, ".")
			switch {
			case keptWhole[key] && isFlat(v[key]):
			case knownKeys[key]:
				v[key] = r.value(at, v[key])
			default:
				v[key], r.keys = redacted, append(r.keys, at)
			}
		}
	case []any:
		for i := range v {
			v[i] = r.value(fmt.Sprintf("%s[%d]", path, i), v[i])
		}
	}
	return v
}

// isFlat reports whether v is an object of booleans, numbers and strings.
func isFlat(v any) bool {
	object, ok := v.(map[string]any)
	for _, value := range object {
		switch value.(type) {
		case map[string]any, []any:
			return false
		}
	}
	return ok
}

// Addresses replaces IP and MAC addresses by names, the same address by the same name. The zero value is ready.
type Addresses struct {
	names map[string]string
	count map[string]int
}

var (
	ipv4 = regexp.MustCompile(`\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b`)
	// colons matches what may be an IPv6 or a MAC address: a run with two colons or more.
	colons = regexp.MustCompile(`[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*`)
	mac    = regexp.MustCompile(`^(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$`)
)

// Redact replaces the addresses in a text. The loopback and the unspecified addresses stay: they identify nothing.
func (a *Addresses) Redact(text []byte) []byte {
	text = colons.ReplaceAllFunc(text, func(run []byte) []byte {
		// A sentence may end after an address, and a key of JSON has a colon after it.
		s := strings.TrimRight(string(run), ".")
		rest := string(run[len(s):])
		for {
			if mac.MatchString(s) {
				return []byte(a.name("mac", strings.ToLower(s)) + rest)
			}
			if addr, err := netip.ParseAddr(s); err == nil {
				return []byte(a.address(addr, s) + rest)
			}
			cut, ok := strings.CutSuffix(s, ":")
			if !ok || strings.HasSuffix(cut, ":") {
				return run
			}
			s, rest = cut, ":"+rest
		}
	})
	return ipv4.ReplaceAllFunc(text, func(run []byte) []byte {
		addr, err := netip.ParseAddr(string(run))
		if err != nil {
			return run
		}
		return []byte(a.address(addr, string(run)))
	})
}

func (a *Addresses) address(addr netip.Addr, text string) string {
	addr = addr.Unmap()
	if addr.IsLoopback() || addr.IsUnspecified() {
		return text
	}
	return a.name("addr", addr.String())
}

func (a *Addresses) name(kind, address string) string {
	if a.names == nil {
		a.names, a.count = make(map[string]string), make(map[string]int)
	}
	name, ok := a.names[kind+address]
	if !ok {
		a.count[kind]++
		name = fmt.Sprintf("%s-%d", kind, a.count[kind])
		a.names[kind+address] = name
	}
	return name
}
