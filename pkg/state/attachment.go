// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/containernetworking/cni/pkg/utils"

	"github.com/halfclose/halfclose/internal/safetext"
)

// Attachment names a container's interface, as the CNI specification's section "Attachment" does.
type Attachment struct {
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifname"`
}

const (
	// separator ends the container ID in a file name: no container ID has it.
	separator = "@"
	// netnsSeparator ends the interface name: none has it.
	netnsSeparator = ":"
	suffix         = ".json"
	// adoptedMark ends the file name of an adopted record, before the suffix: neither Adopt nor its caller can replace or remove
	// the file of an ADD.
	adoptedMark = ":adopted"
	// maxName is how many bytes a file name may have.
	maxName = 255
)

// String returns the attachment for operators. An invalid one is quoted.
func (a Attachment) String() string {
	if a.validate() != nil {
		return fmt.Sprintf("%q, interface %q", a.ContainerID, a.IfName)
	}
	return a.ContainerID + ", interface " + a.IfName
}

// CheckName returns an error if no record of the attachment can be written: the container ID or the interface name is
// invalid or too long for a file name.
func (a Attachment) CheckName() error {
	if err := a.validate(); err != nil {
		return err
	}
	// The limit does not depend on the netns, so that a container ID fits always or never.
	longest := maxName - len(separator+a.IfName+netnsSeparator+suffix) - maxKeyLen
	if len(a.ContainerID) > longest {
		return fmt.Errorf("container ID of %d bytes is too long: at most %d fit in a file name", len(a.ContainerID), longest)
	}
	return nil
}

// validate checks the two names by the rules of the CNI specification and of Linux.
func (a Attachment) validate() error {
	// The message alone: the details may repeat the name, unescaped.
	if err := utils.ValidateContainerID(a.ContainerID); err != nil {
		return errors.New(err.Msg)
	}
	if err := utils.ValidateInterfaceName(a.IfName); err != nil {
		return errors.New(err.Msg)
	}
	// Linux accepts these, but JSON and terminals change them.
	if !safetext.IsPrintable(a.IfName) {
		return errors.New("interface name has characters that cannot be printed")
	}
	return nil
}

// base returns the start of the names of the attachment's files.
func (a Attachment) base() string { return a.ContainerID + separator + a.IfName }

// owns reports whether a file of that name is the attachment's.
func (a Attachment) owns(name string) bool {
	return strings.HasPrefix(name, a.base()+netnsSeparator) && strings.HasSuffix(name, suffix)
}

// NetnsKey identifies a netns in a file name, so that the netns is known even if the content is damaged. The zero NetnsKey
// names none.
type NetnsKey struct {
	Cookie uint64 // 0 if the kernel has no cookies (before 5.14)
	Inode  uint64
}

// maxKeyLen is the length of the longest NetnsKey of a kernel that has created fewer than 2^40 namespaces: ten digits of the
// cookie, a hyphen, and eight digits of the inode number, which has 32 bits.
const maxKeyLen = 10 + 1 + 8

// String returns the key as in a file name: cookie and inode number in hexadecimal digits, with a hyphen between them.
func (k NetnsKey) String() string {
	return strconv.FormatUint(k.Cookie, 16) + "-" + strconv.FormatUint(k.Inode, 16)
}

// parseKey is the inverse of String. Each key has one spelling.
func parseKey(s string) (NetnsKey, error) {
	cookie, inode, _ := strings.Cut(s, "-")
	var k NetnsKey
	var errs [2]error
	k.Cookie, errs[0] = strconv.ParseUint(cookie, 16, 64)
	k.Inode, errs[1] = strconv.ParseUint(inode, 16, 64)
	if errors.Join(errs[:]...) != nil || k.Inode == 0 || k.String() != s {
		return NetnsKey{}, errors.New("the part after the interface is not a netns cookie and inode number in hexadecimal digits")
	}
	return k, nil
}

func fileNameOf(a Attachment, k NetnsKey, adopted bool) (string, error) {
	if err := a.CheckName(); err != nil {
		return "", err
	}
	if k.Inode == 0 {
		return "", errNoInode
	}
	name := a.base() + netnsSeparator + k.String()
	if adopted {
		name += adoptedMark
	}
	name += suffix
	if len(name) > maxName {
		return "", fmt.Errorf("file name of %d bytes is too long: at most %d are possible", len(name), maxName)
	}
	return name, nil
}

// isAdoptedName reports whether a file of that name has an adopted record.
func isAdoptedName(name string) bool { return strings.HasSuffix(name, adoptedMark+suffix) }

// ParseFileName returns the attachment and the netns in the name of a record's file.
func ParseFileName(name string) (Attachment, NetnsKey, error) {
	base, ok := strings.CutSuffix(name, suffix)
	if !ok {
		return Attachment{}, NetnsKey{}, fmt.Errorf("file name does not end in %s", suffix)
	}
	id, rest, hasIfName := strings.Cut(base, separator)
	ifname, key, hasKey := strings.Cut(rest, netnsSeparator)
	if !hasIfName || !hasKey {
		return Attachment{}, NetnsKey{}, fmt.Errorf("file name is not <containerID>%s<ifname>%s<netns>%s", separator, netnsSeparator, suffix)
	}
	a := Attachment{ContainerID: id, IfName: ifname}
	if err := a.CheckName(); err != nil {
		return Attachment{}, NetnsKey{}, fmt.Errorf("file name: %w", err)
	}
	key, adopted := strings.CutSuffix(key, adoptedMark)
	k, err := parseKey(key)
	if err != nil {
		return Attachment{}, NetnsKey{}, fmt.Errorf("file name: %w", err)
	}
	if _, err := fileNameOf(a, k, adopted); err != nil {
		return Attachment{}, NetnsKey{}, fmt.Errorf("file name: %w", err)
	}
	return a, k, nil
}

// WarnNoReaper is the start of the warning in a record that the plugin wrote while no reaper was running and it could start
// none. Unlike the other warnings, it no longer applies once a reaper runs.
const WarnNoReaper = "no reaper runs"

// IsRuntimeID reports whether a container ID is of the form that runtimes use: more than 13 hexadecimal digits. Others are
// names that an operator or a tool chose.
func IsRuntimeID(id string) bool { return len(id) > 13 && strings.Trim(id, "0123456789abcdef") == "" }

var errNoInode = errors.New("no netns inode")
