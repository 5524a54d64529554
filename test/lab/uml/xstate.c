/*
 * Preloaded into User-Mode Linux 6.1 where the host's CPU has AMX. That kernel hands over 2696 bytes of a program's vector
 * registers; such a host keeps 11008 and refuses fewer, and User-Mode Linux then ends in a panic at its first program.
 * This completes the short ones with what the program has. Linux 6.13 does it itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

typedef long (*ptrace_fn)(long, long, void *, void *);

/* Not on the stack, which is 16 KiB there. One is enough: User-Mode Linux has one CPU. */
static char registers[65536];

long ptrace(enum __ptrace_request request, ...)
{
	static ptrace_fn real;
	va_list words;
	va_start(words, request);
	long pid = va_arg(words, long);
	void *addr = va_arg(words, void *);
	void *data = va_arg(words, void *);
	va_end(words);
	if (!real)
		real = (ptrace_fn)dlsym(RTLD_NEXT, "ptrace");
	struct iovec *given = data;
	struct iovec whole = { registers, sizeof registers };
	if (request != PTRACE_SETREGSET || addr != (void *)NT_X86_XSTATE
	    || real(PTRACE_GETREGSET, pid, addr, &whole) || whole.iov_len <= given->iov_len)
		return real(request, pid, addr, data);
	memcpy(registers, given->iov_base, given->iov_len);
	return real(request, pid, addr, &whole);
}
