// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package api_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/owners"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/state"
)

// checkJSON compares what AppendJSON writes with what encoding/json does.
func checkJSON(t *testing.T, v *api.SocketView) {
	t.Helper()
	var want bytes.Buffer
	if err := json.NewEncoder(&want).Encode(v); err != nil { // as HTTP answers are encoded
		t.Fatal(err)
	}
	got, err := v.AppendJSON([]byte("["))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(got[1:]), string(bytes.TrimSuffix(want.Bytes(), []byte("\n"))); got != want || got[0] != '{' {
		t.Errorf("written as\n%s\nand by encoding/json as\n%s", got, want)
	}
}

// setAll sets everything that there is in a value to something.
func setAll(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			setAll(t, field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		setAll(t, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		setAll(t, v.Index(0))
		setAll(t, v.Index(1))
	case reflect.String:
		v.SetString("some text")
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(2)
	case reflect.Int, reflect.Int64:
		v.SetInt(-1500e6)
	case reflect.Bool:
		v.SetBool(true)
	default:
		t.Fatalf("the test has no value of type %v", v.Type())
	}
}

func TestASocketIsWrittenAsEncodingJSONWritesIt(t *testing.T) {
	var full api.SocketView
	setAll(t, reflect.ValueOf(&full).Elem())
	t.Run("every field", func(t *testing.T) { checkJSON(t, &full) })
	t.Run("no field", func(t *testing.T) { checkJSON(t, &api.SocketView{}) })
	for i := range reflect.TypeFor[api.SocketView]().NumField() {
		t.Run("only "+reflect.TypeFor[api.SocketView]().Field(i).Name, func(t *testing.T) {
			var v api.SocketView
			setAll(t, reflect.ValueOf(&v).Elem().Field(i))
			checkJSON(t, &v)
		})
	}
}

func FuzzASocketIsWrittenAsEncodingJSONWritesIt(f *testing.F) {
	f.Add("web", "7d4b", "why", "comm", uint64(1), int64(1500e6), uint8(8), uint8(1))
	f.Add("<&>", "\xff\u2028\x00", `"\`, "日本\n", uint64(1<<63), int64(-499999), uint8(255), uint8(255))
	f.Fuzz(func(t *testing.T, pod, netns, why, comm string, n uint64, age int64, state8, verdict uint8) {
		s := api.Seconds(age)
		checkJSON(t, &api.SocketView{
			Pod: state.Pod{Namespace: pod, Name: why, UID: netns}, ContainerID: why, Netns: netns, Local: pod, Peer: comm,
			State: inetdiag.State(state8), Age: &s, Deadline: &s, RQueue: uint32(n), Inode: uint32(n >> 32), Cookie: n,
			Verdict: policy.Reason(verdict), Mode: policy.Mode(verdict % 4), Why: why, Owners: []owners.Process{{Command: comm}},
		})
	})
}

func TestASocketOfAnotherVersionsReaperIsReadWhateverItsVerdict(t *testing.T) {
	t.Parallel()
	for verdict, want := range map[string]policy.Reason{`"within-grace"`: policy.WithinGrace, `"young"`: policy.Unknown} {
		var v api.SocketView
		if err := json.Unmarshal([]byte(`{"local":"10.0.0.1:80","verdict":`+verdict+`,"why":"because"}`), &v); err != nil {
			t.Fatal(err)
		}
		if v.Verdict != want || v.Local != "10.0.0.1:80" || v.Why != "because" {
			t.Errorf("%s is read as %+v", verdict, v)
		}
	}
	if err := json.Unmarshal([]byte(`{"verdict":7}`), new(api.SocketView)); err == nil {
		t.Error("a number is read as a verdict")
	}
}
